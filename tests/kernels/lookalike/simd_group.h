// Runs a kernel over its grid, 32 threads at a time, as a GPU's SIMD group does. Every thread is a fibre, which stops
// only where lanes exchange numbers. Buffers are read from files, and written back to them.
#pragma once
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>

struct Buffer {
  void* data;
  template <typename T>
  operator T*() const { return static_cast<T*>(data); }
};

void run_thread(unsigned number, unsigned threadgroup, const Buffer* buffers);  // written behind each kernel

struct Lane {
  ucontext_t context;
  enum { RUNS, WAITS, DONE } state;
  float sent, received;
  int mask, exchanges;
  char stack[64 << 10];
};

static Lane lanes[32];
static ucontext_t scheduler;
static unsigned first, current, threadgroup;
static Buffer buffers[16];

inline float exchange(float number, int mask) {
  Lane& lane = lanes[current];
  lane.sent = number;
  lane.mask = mask;
  lane.exchanges += 1;
  lane.state = Lane::WAITS;
  swapcontext(&lane.context, &scheduler);
  return lane.received;
}

static void run_lane() {
  run_thread(first + current, threadgroup, buffers);
  lanes[current].state = Lane::DONE;
}

static void deliver(Lane& to, const Lane& from) {
  if (from.state != Lane::WAITS || from.mask != to.mask || from.exchanges != to.exchanges) {
    fprintf(stderr, "a lane reads from one that is elsewhere\n");
    exit(1);
  }
  to.received = from.sent;
}

static void run_group(unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    Lane& lane = lanes[i];
    getcontext(&lane.context);
    lane.context.uc_stack.ss_sp = lane.stack;
    lane.context.uc_stack.ss_size = sizeof(lane.stack);
    lane.context.uc_link = &scheduler;
    makecontext(&lane.context, run_lane, 0);
    lane.state = Lane::RUNS;
    lane.exchanges = 0;
  }
  for (bool waiting = true; waiting;) {
    for (current = 0; current < count; ++current) {
      if (lanes[current].state == Lane::RUNS) { swapcontext(&scheduler, &lanes[current].context); }
    }
    waiting = false;
    for (unsigned i = 0; i < count; ++i) {
      if (lanes[i].state == Lane::WAITS) { deliver(lanes[i], lanes[i ^ lanes[i].mask]); }
    }
    for (unsigned i = 0; i < count; ++i) {
      if (lanes[i].state == Lane::WAITS) {
        lanes[i].state = Lane::RUNS;
        waiting = true;
      }
    }
  }
}

// Arguments: the number of threads, those of a threadgroup, and a file for each buffer.
int main(int count, char** arguments) {
  const unsigned threads = atoi(arguments[1]);
  threadgroup = atoi(arguments[2]);
  const int files = count - 3;
  long sizes[16];
  for (int i = 0; i < files; ++i) {
    FILE* file = fopen(arguments[3 + i], "rb");
    fseek(file, 0, SEEK_END);
    sizes[i] = ftell(file);
    rewind(file);
    buffers[i].data = malloc(sizes[i]);  // no larger, so that the sanitizer sees what is read or written beyond
    if (fread(buffers[i].data, 1, sizes[i], file) != size_t(sizes[i])) { return 2; }
    fclose(file);
  }
  for (first = 0; first < threads; first += 32) { run_group(threads - first < 32 ? threads - first : 32); }
  for (int i = 0; i < files; ++i) {
    FILE* file = fopen(arguments[3 + i], "wb");
    fwrite(buffers[i].data, 1, sizes[i], file);
    fclose(file);
    free(buffers[i].data);
  }
}
