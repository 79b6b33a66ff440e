from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from asyncirq.analysis.pack import CostPack, CostSource, builtin_pack, format_pack, read_pack
from asyncirq.analysis.segments import extract_costs
from asyncirq.errors import UsageError
from tests.analysis.linux_captures import STOCK, capture

HEAD = 'format = 1\nkernel = "linux-6.1"\n'


def test_pack_reads_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(format_pack(builtin_pack()))
    read = read_pack(file)
    assert read.origin == str(file)
    assert sorted(read.costs, key=lambda cost: cost.name) == sorted(builtin_pack().costs, key=lambda cost: cost.name)


def test_release_without_a_pack_gets_the_default_one() -> None:
    assert builtin_pack("linux-2.6") == builtin_pack()
    assert (builtin_pack().kernel, builtin_pack().origin) == ("linux-6.1", "linux-6.1.toml")


def test_pack_gives_what_the_capture_did_not_measure() -> None:
    mine = [CostSource(name, [], 1, "prior", 3, "mine") for name in ("try_to_wake_up", "irq_thread_enter", "new")]
    table = extract_costs(capture(STOCK), CostPack("linux-6.1", "mine", tuple(mine)))
    assert table.cost("try_to_wake_up").kind == "measured"
    assert table.cost("irq_thread_enter") == mine[1]
    assert table.cost("new") == mine[2]
    with pytest.raises(UsageError, match="no sample of cost 'rt_lock_block'"):
        table.cost("rt_lock_block")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = ", "Invalid value"),
        ('kernel = "x"\n', "format is None, not 1: this is no cost pack that is known"),
        ("format = 1\n", "kernel has to be a text, costs a table"),
        (HEAD + "costs.x = 1\n", "costs.x: not the table of a cost"),
        (HEAD + "[costs.x]\nvalue = 1\n", "costs.x.value: unknown; there are n, samples_ns, source, value_ns"),
        (HEAD + '[costs.x]\nvalue_ns = -1\nsource = "s"\n', "costs.x: value_ns and n have to be whole numbers, 0 or more"),
        (HEAD + "[costs.x]\nvalue_ns = 1\n", "costs.x.source: say where this figure comes from"),
        (HEAD + '[costs.x]\nvalue_ns = 1\nsource = "s"\nsamples_ns = [1.5]\n', "costs.x.samples_ns: not a list of whole numbers"),
    ],
)
def test_mistakes_name_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        read_pack(file)
    assert str(error.value).startswith(f"{file}: ")
    assert message in str(error.value)


def test_absent_pack_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read: No such file or directory"):
        read_pack(tmp_path / "absent.toml")


def test_format_quotes_what_needs_it(tmp_path: Path) -> None:
    odd = CostSource("x", [3, 1], 2, "prior", 2, 'said "so"')
    file = tmp_path / "odd.toml"
    file.write_text(format_pack(CostPack("k", "o", (odd,))))
    assert read_pack(file).costs == (msgspec.structs.replace(odd, samples=[1, 3]),)
