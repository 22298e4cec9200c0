"""Fixtures of the tests of the page."""

import pytest


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from browser import open_browser

    driver = open_browser(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("downloads"))
    yield driver
    driver.quit()


@pytest.fixture
def start(tmp_path):
    """Start servers with one folder for temporary files."""
    from browser import Server

    (tmp_path / "files").mkdir()
    servers = []

    def run(*arguments):
        servers.append(Server(tmp_path / "files", *arguments))
        return servers[-1]

    yield run
    for running in servers:
        running.stop()
