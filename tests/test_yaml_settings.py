import pytest
import yaml

from lucid_mlx import InputError
from lucid_mlx.convert.yaml_settings import YamlSettings

DEFAULTS = {
    "MODEL": {"HEADS": 8, "RATE": 0.1, "DEEP": True, "MAPS": ["res4"], "NAME": "none", "SCALE": None, "LEFT": 5},
    "TRAIN": [],
}
CALL = '!!python/object/apply:os.system ["touch witness"]'


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_and_read(text, **bases):
        for name, base in bases.items():
            (tmp_path / f"{name}.yaml").write_text(base)
        (tmp_path / "mine.yaml").write_text(text)
        return YamlSettings(tmp_path / "mine.yaml", DEFAULTS)

    return write_and_read


def test_a_file_overrides_its_base_section_by_section(read):
    settings = read(
        "_BASE_: child.yaml\nMODEL: {HEADS: 2}",
        child="_BASE_: base.yaml\nMODEL: {HEADS: 3, RATE: 0.3, MAPS: [a]}",
        base="MODEL: {HEADS: 4, RATE: 0.4, MAPS: [a, b, c], DEEP: False}",
    )
    assert [settings.get(f"MODEL.{name}") for name in ("HEADS", "RATE", "DEEP", "LEFT")] == [2, 0.3, False, 5]
    assert settings.get("MODEL.MAPS") == ["a"]  # a list is replaced whole
    assert settings.is_set("MODEL.DEEP")
    assert not settings.is_set("MODEL.LEFT")


def test_defaults_cannot_be_changed_through_a_returned_value(read):
    read("{}").get("MODEL.MAPS").append("res5")
    assert read("{}").get("MODEL.MAPS") == ["res4"]


def test_a_base_is_relative_to_its_file(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "child.yaml").write_text("_BASE_: ../base.yaml")
    for base in ("base.yaml", "./deep/child.yaml"):
        settings = read(f"_BASE_: {base}", base="MODEL: {HEADS: 4}")
        monkeypatch.chdir(tmp_path.parent)
        assert settings.get("MODEL.HEADS") == 4
    assert YamlSettings("~/mine.yaml", DEFAULTS).get("MODEL.HEADS") == 4


@pytest.mark.parametrize("base", ["missing.yaml", "../../missing.yml", "x" * 5000 + ".yaml"])
def test_a_missing_base_is_reported(base, read):
    with pytest.raises(InputError, match=r"mine.yaml is based on .*, which does not exist"):
        read(yaml.safe_dump({"_BASE_": base}))


@pytest.mark.parametrize(
    "base",
    [
        "https://example.com/base.yaml", "s3://x/y.yaml", ["a.yaml"], 3, ".", "/etc/passwd", "/etc/base.yaml",
        "~/base.yaml", "~nobody-of-that-name/x.yaml", "../base.txt", "a\0b.yaml", "x" * 5000,
    ],
)  # fmt: skip
def test_a_base_that_is_no_path_from_its_file_to_a_yaml_file_is_reported(base, read):
    with pytest.raises(InputError, match=r"mine.yaml: _BASE_ must be the path"):
        read(yaml.safe_dump({"_BASE_": base}))


@pytest.mark.parametrize("base", ["mine.yaml", "../{}/child.yaml"])
def test_a_file_that_is_its_own_base_is_reported(base, read, tmp_path):
    with pytest.raises(InputError, match=r"(mine|child).yaml is based on itself"):
        read("_BASE_: " + base.format(tmp_path.name), child="_BASE_: mine.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: [", "is not valid YAML"),
        ("MODEL: !mine {}", "is not valid YAML"),
        ("MODEL: 2001-99-99", "is not valid YAML"),
        ("[" * 500, "is not valid YAML"),
        ("MODEL:\x00", "is not valid YAML"),
        ("", "holds nothing, expected the sections"),
        ("root:x:0:0", "holds a str, expected the sections"),
        ("- " * 20000, "is not valid YAML: it nests too deeply"),
        ("- MODEL", "holds a list, expected the sections"),
    ],
)
def test_a_file_without_a_configuration_is_reported_by_name(text, message, read):
    with pytest.raises(InputError, match=f"mine.yaml {message}") as error:
        read(text)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=f"bad.yaml {message}"):
        read("_BASE_: bad.yaml", bad=text)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml does not exist"):
        YamlSettings(tmp_path / "none.yaml", DEFAULTS)


def test_a_python_tag_in_an_unused_setting_is_not_run(read, tmp_path):
    settings = read(f"MODEL: {{HEADS: 4}}\nINPUT: {{SIZES: {CALL}}}\nMORE: {CALL}")
    assert settings.get("MODEL.HEADS") == 4
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("text", ["MODEL: {{HEADS: {}}}", "MODEL: {{MAPS: [a, {}]}}", "MODEL: {}", "_BASE_: {}"])
def test_a_python_tag_in_a_used_setting_is_refused_by_name(text, read, tmp_path):
    with pytest.raises(InputError, match=r"mine.yaml.*!!python/object/apply:os.system, which is never run"):
        read(text.format(CALL)).get("MODEL.MAPS" if "MAPS" in text else "MODEL.HEADS")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("HEADS", "eight", "must be like 8, got 'eight'"),
        ("HEADS", "True", "must be like 8, got True"),
        ("HEADS", "8.0", "must be like 8, got 8.0"),
        ("DEEP", "1", "must be like True, got 1"),
        ("RATE", ".nan", "must be like 0.1, got nan"),
        ("RATE", "[0.1]", r"must be like 0.1, got \[0.1\]"),
        ("RATE", "", "must be like 0.1, got None"),
        ("MAPS", "res5", r"must be like \['res4'\], got 'res5'"),
        ("MAPS", "[5]", r"must be like \['res4'\], got \[5\]"),
        ("NAME", "3", "must be like 'none', got 3"),
    ],
)
def test_values_of_another_type_are_reported(name, written, message, read):
    with pytest.raises(InputError, match=f"mine.yaml: MODEL.{name} {message}"):
        read(f"MODEL:\n  {name}: {written}").get(f"MODEL.{name}")


@pytest.mark.parametrize("name", ["HEADS", "RATE"])
def test_numbers_of_thousands_of_digits_are_reported(name, read):
    for written in ("0x" + "f" * 5000, "9" * 5000, repr("0x" + "f" * 5000)):
        with pytest.raises(InputError, match="must be like|not valid YAML"):
            read(f"MODEL: {{{name}: {written}}}").get(f"MODEL.{name}")


def test_a_section_that_is_not_a_mapping_is_reported(read):
    with pytest.raises(InputError, match="mine.yaml: expected a section that holds MODEL.HEADS, got 3"):
        read("MODEL: 3").get("MODEL.HEADS")


def test_python_literals_are_parsed_as_in_detectron2(read):
    settings = read('MODEL: {HEADS: \'4\', RATE: 1e-1, MAPS: \'("a", "b")\', NAME: R-50}\nTRAIN: ("a",)')
    assert [settings.get(f"MODEL.{name}") for name in ("HEADS", "RATE", "MAPS")] == [4, 0.1, ["a", "b"]]
    assert settings.get("MODEL.NAME") == "R-50"
    assert settings.get("TRAIN") == ["a"]
    assert read(r"MODEL: {NAME: '\d \\d'}").get("MODEL.NAME") == r"\d \\d"
    assert read("TRAIN: ('\\d',)").get("TRAIN") == [r"\d"]  # Python warns of this escape sequence


def test_values_that_are_not_supported_are_reported(read):
    settings = read("MODEL: {SCALE: 0.5}")
    assert settings.get_choice("MODEL.HEADS", 4, 8) == 8
    with pytest.raises(InputError, match="MODEL.HEADS is 8 by default, which .* not support; expected 2 or 4"):
        settings.get_choice("MODEL.HEADS", 2, 4)
    with pytest.raises(InputError, match="MODEL.SCALE is 0.5, which this package does not support; expected None"):
        settings.get_choice("MODEL.SCALE", None)


def aliases(first, line):
    """Names of which each stands for nine times the one before."""
    lines = [f"a{n}: &a{n} {line.format(', '.join([f'*a{n - 1}'] * 9))}" for n in range(1, 12)]
    return "\n".join([f"a0: &a0 {first}", *lines, "MODEL: *a11"])


@pytest.mark.parametrize(
    "text",
    [
        aliases("[x]", "[{}]"),
        aliases("{x: 1}", "{{<<: [{}]}}"),
        "MODEL: &a [*a]",
        "MODEL: &a {<<: *a}",
        "&a {*a: 1}",
    ],
)
def test_aliases_that_stand_for_too_many_values_are_refused_before_they_are_written_out(text, read):
    with pytest.raises(InputError, match="mine.yaml has more than 100000 values, its aliases"):
        read(text)


def test_a_few_aliases_and_merged_sections_are_read(read):
    settings = read("A: &a {HEADS: 2, RATE: 0.5}\nMODEL: {<<: *a, RATE: 0.25}")
    assert (settings.get("MODEL.HEADS"), settings.get("MODEL.RATE")) == (2, 0.25)


def test_a_file_that_is_too_large_is_refused(read):
    with pytest.raises(InputError, match=r"mine.yaml has \d+ bytes; expected a YAML file, of at most"):
        read("#" * 100_000)


def test_a_long_chain_of_base_files_is_refused(read):
    bases = {f"b{n}": f"_BASE_: b{n + 1}.yaml" for n in range(20)}
    with pytest.raises(InputError, match="is the last of 10 base files"):
        read("_BASE_: b0.yaml", **bases)


@pytest.mark.parametrize(
    "text", ["a: *secret", "a: !secret b", 'a: "\\secret', "secret: 1: 2", "@secret", "a: [secret"]
)
def test_no_message_shows_what_a_file_holds_that_is_no_yaml(text, read):
    with pytest.raises(InputError, match=r"mine.yaml is not valid YAML: .*in line 1, column") as error:
        read(text)
    assert "secret" not in str(error.value)


def test_a_long_string_is_no_python_literal(read):
    text = "[" * 3000 + "]" * 3000
    with pytest.raises(InputError, match="MODEL.MAPS must be like"):
        read(f"MODEL: {{MAPS: '{text}'}}").get("MODEL.MAPS")
