"""Programs in chunks: how they are cut, and that they compute the same, run after run, on every engine."""

import os
import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from systolith.gen.compile import compile_graph, compile_schedule
from systolith.gen.emit import link
from systolith.gen.emit.artefact import Artefact, load, save
from systolith.gen.emit.chunks import Buffers, Chunks, cut
from systolith.gen.emit.program import PROGRAM_READY, WEIGHT_FREE, WEIGHT_READY
from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.presets import preset
from systolith.gen.report import run_report
from systolith.gen.report.traffic import executed
from systolith.gen.run import Session
from systolith.gen.schedule import streams
from systolith.gen.schedule.schedule import LEAD, Stripes, schedule
from systolith.gen.zoo.resnet8 import resnet8
from systolith.rtl import isa
from systolith.rtl.assembly import Expander
from systolith.rtl.isa import Instruction
from systolith.sim.golden.execute import random_inputs
from systolith.sim.model.session import timing_of
from tests.random_graphs import RandomGraph
from tests.test_compile import SMALL
from tests.test_pages import PAGED
from tests.test_rtl_machine import CONFIG
from tests.transformer_networks import model

EDGE = preset("edge")
BUFFERS = Buffers(96, 4096, 512)
OWN = (isa.SYNC, isa.JUMP, isa.END)


def _pieces(count: int, tiles: int, work: int = 2) -> list[list[Instruction]]:
    """Pieces of one ARRAY and `work` VECTORs; weights are asked for LEAD pieces ahead."""
    def asked(number: int) -> Instruction:
        return isa.MOVE_IN(tag=number, blocks=tiles, take=WEIGHT_FREE, give=WEIGHT_READY, a=number)

    pieces = [[isa.ARRAY(tag=number, tiles=tiles, ky=1, kx=1, kc=1, ready=WEIGHT_READY),
               *(isa.VECTOR(tag=number, a=7 * number + k, c=number) for k in range(work))] for number in range(count)]
    asking = [[asked(k) for k in range(LEAD + 1)], *([asked(k + LEAD)] for k in range(1, count - LEAD)), *[[]] * LEAD]
    whole = [a + piece for a, piece in zip(asking, pieces, strict=True)]
    return [[isa.SYNC(signal0=WEIGHT_FREE, signal0_count=1), *whole[0]], *whole[1:-1], [*whole[-1], isa.END()]]


def _decoded(chunks: Chunks, slots: int) -> list[list[Instruction]]:
    """The instructions of the loader and of each chunk."""
    expander = Expander(slots)
    out: list[list[Instruction]] = []
    for words in (chunks.loader, *chunks.words):
        out.append([])
        at = 0
        while at < len(words):
            instruction, at = expander.decode(words, at)
            out[-1].append(instruction)
    return out


@pytest.mark.parametrize("slots", [1, 16])
def test_chunks_follow_one_another(slots: int) -> None:
    pieces = _pieces(40, 3)
    chunks = cut(pieces, BUFFERS, 4, slots)
    assert chunks is not None and 4 * len(chunks.loader) <= 96
    parts = _decoded(chunks, slots)
    assert len(parts) > 4
    for number, (part, words) in enumerate(zip(parts, [[], *chunks.words], strict=True)):
        assert 4 * len(words) <= BUFFERS.size
        bring = [i for i in part if i.kind is isa.MOVE_IN and i.signal0 == PROGRAM_READY]
        if number == len(parts) - 1:
            assert not bring and part[-1].kind is isa.END
            continue
        buffer = 96 + 512 * (number % 2)
        assert [(i.a, i.external, i.block_bytes, i.blocks) for i in bring] == [(buffer, 4096 + 512 * number, 512, 1)]
        assert part[-2:] == [isa.SYNC(wait0=PROGRAM_READY, wait0_count=1), isa.JUMP(address=buffer)]
    for unit in isa.UNITS:  # each unit gets what it would get without
        given = [i for part in parts for i in part if i.kind.opcode >> 4 == unit and i.signal0 != PROGRAM_READY]
        assert given == [i for piece in pieces for i in piece if i.kind.opcode >> 4 == unit]


@pytest.mark.parametrize("ring", [1, 4, 9])
def test_what_a_chunk_waits_for_is_in_queues(ring: int) -> None:
    """When a chunk waits for the next one, the ARRAYs are dispatched that make room for all weights which were asked
    for before it. And until then no more is asked for in front of a piece's own instructions."""
    chunks = cut(_pieces(40, 3), BUFFERS, ring, 4)
    assert chunks is not None
    asked = read = 0
    for part in _decoded(chunks, 4)[1:]:
        before = None
        pieces_since = 0
        for one in part:
            if one.signal0 == PROGRAM_READY if one.kind is isa.MOVE_IN else False:
                before = asked
            elif one.kind is isa.MOVE_IN:
                asked += one.blocks
                assert before is None or pieces_since
            elif one.kind is isa.ARRAY:
                read += one.tiles
                pieces_since += 1
        assert before is None or read >= before - ring
        late = [i.kind for i in part if i.kind not in OWN]
        if before is not None:
            at = next(k for k, i in enumerate(part) if i.kind is isa.MOVE_IN and i.signal0 == PROGRAM_READY)
            after = [i.kind for i in part[at + 1:] if i.kind not in OWN]
            assert after[:8] == [isa.ARRAY, isa.VECTOR, isa.VECTOR, isa.MOVE_IN] * 2, late


def test_pieces_that_are_too_long() -> None:
    assert cut(_pieces(12, 3, work=20), BUFFERS, 4, 1) is None
    assert cut(_pieces(40, 3), Buffers(96, 0, 256), 4, 1) is None
    assert cut(_pieces(40, 3), Buffers(96, 0, 400), 100, 1) is not None
    assert cut(_pieces(40, 3), Buffers(96, 0, 400), 0, 1) is None  # two pieces are in it, not three


def test_short_programs_have_one() -> None:
    pieces = _pieces(3, 3)
    chunks = cut(pieces, Buffers(96, 0, 2048), 4, 4)
    assert chunks is not None and len(chunks.words) == 1
    assert _decoded(chunks, 4)[1] == [i for piece in pieces for i in piece]


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the size of chunks, and that all programs are cut into them."""
    def set_size(size: int) -> None:
        monkeypatch.setattr(link, "CHUNK_BYTES", size)
        monkeypatch.setattr(link, "STREAMED_FROM", 0)
    return set_size


def _check(artefact: Artefact, engine: str = "machine") -> list[int]:
    """Two inferences, the second on the memory that the first left; cycles of each."""
    session = Session(artefact, engine, check=True)
    cycles = []
    for inference in range(2):
        _, measured = session.infer(random_inputs(artefact.graph, inference))
        assert session.difference is None, session.difference
        cycles.append(measured.cycles if measured else 0)
    session.close()
    return cycles


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed: int, chunked: Callable[[int], None]) -> None:
    """Rings of few tiles, short queues, few slots; layer by layer and in stripes; constants that stay and that come."""
    rng = random.Random(seed)
    graph = RandomGraph(seed).graph(10)
    config = SMALL.replace(external_bytes=4, queue_words=rng.choice((32, 40, 64)), depthwise_lanes=rng.choice((0, 20)),
                           instruction_slots=rng.choice((1, 4, 16)))
    stripes = Stripes([range(len(graph.nodes))], [rng.choice((99, 3))]) if seed % 2 else None
    chunked(rng.choice((128, 256, 512)))
    s = schedule(graph, config, stripes)
    if config.queue_words == 64 and seed % 4 < 2:
        s.__dict__["streamed"] = True
    artefact = compile_schedule(s, rng.choice((1, 2, 3, 7, 40)))
    if seed in (3, 5, 9):
        assert artefact.parts and len(artefact.parts.words) > 3
    _check(artefact)


def test_pages_outside_lie_behind(chunked: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """With streams, rows of inputs that the host brings, and pages in external memory."""
    monkeypatch.setattr(streams, "LEAST", 0)
    seen = 0
    for seed in range(6):
        chunked(256)
        config = PAGED.replace(memory_bytes=1 << 20)
        artefact = compile_graph(RandomGraph(seed).graph(7), config, Goal("memory", codec="pages", margin=1))
        if artefact.parts and artefact.pages:
            seen += 1
            assert artefact.pages.outside >= len(artefact.external) == (
                artefact.parts.external + len(artefact.parts.words) * artefact.parts.stride)
            assert artefact.pages.outside < len(artefact.external) + artefact.parts.stride + config.page_bytes
        _check(artefact)
    assert seen


def test_a_run_that_was_ended_leaves_nothing_behind(chunked: Callable[[int], None]) -> None:
    chunked(512)
    session = Session(compile_graph(resnet8(), EDGE), "machine", check=True)
    machine, count = session._machine, 0
    assert machine is not None

    class Ended(Exception):
        pass

    def retired(unit: str, instruction: Instruction, number: int) -> None:
        nonlocal count
        count += 1
        if count == 80:
            raise Ended

    machine.on_retired = retired
    with pytest.raises(Ended):
        machine.run()
    session.infer(random_inputs(session.artefact.graph))
    assert session.difference is None


def _whole_and_cut(chunked: Callable[[int], None], size: int) -> tuple[Artefact, Artefact]:
    whole = compile_graph(resnet8(), EDGE)
    assert whole.parts is None
    chunked(size)
    return whole, compile_graph(resnet8(), EDGE)


def test_what_is_executed_and_moved(chunked: Callable[[int], None]) -> None:
    """The report counts a program's own traffic, and not as constants."""
    whole, parts = _whole_and_cut(chunked, 512)
    assert parts.parts is not None and parts.parts.stride == 512
    moved = 512 * len(parts.parts.words)
    names = [sorted(i.kind.name for i, _ in executed(one.program, 16) if i.kind not in OWN) for one in (whole, parts)]
    assert names[1] == sorted(names[0] + ["MOVE_IN"] * len(parts.parts.words))
    before, after = (run_report(one, "none", "edge", None, None, 0) for one in (whole, parts))
    assert after.traffic.external_read == before.traffic.external_read + moved
    assert after.traffic.constants_external == before.traffic.constants_external
    assert sum(layer.traffic.external_read for layer in after.layers) == after.traffic.external_read
    assert parts.sizes["program"] == 80 + 2 * 512 and after.program_bytes == 4 * len(parts.program)
    assert parts.constant_bytes == whole.constant_bytes == len(whole.external) == len(parts.external) - moved
    regions = [(region.name, region.address, region.bytes) for region in after.regions]
    assert regions[0] == ("program", 0, 80 + 2 * 512)


def test_the_file_gives_the_same_back(chunked: Callable[[int], None], tmp_path) -> None:
    _, artefact = _whole_and_cut(chunked, 512)
    save(artefact, tmp_path / "net.slp")
    again = load(tmp_path / "net.slp")
    assert again.program == artefact.program and again.parts == artefact.parts
    assert again.memory == artefact.memory and again.external == artefact.external


def test_the_machine_takes_no_longer(chunked: Callable[[int], None]) -> None:
    """Bit-exact twice in a row, within 1 % of the whole program's cycles, and as the model says."""
    whole = compile_graph(resnet8(), CONFIG)
    chunked(512)
    parts = compile_graph(resnet8(), CONFIG)
    assert whole.parts is None and parts.parts is not None and len(parts.parts.words) > 3
    first, second = _check(parts, "verilator")
    assert first == second
    assert abs(timing_of(parts).cycles - first) <= 0.03 * first
    assert first < 1.01 * _check(whole, "verilator")[0]


@pytest.mark.skipif("SYSTOLITH_SLOW" not in os.environ, reason="takes minutes: set SYSTOLITH_SLOW=1")
def test_icarus_runs_them_too(chunked: Callable[[int], None]) -> None:
    chunked(384)
    artefact = compile_graph(RandomGraph(3).graph(10), CONFIG)
    assert artefact.parts is not None and len(artefact.parts.words) > 2
    assert _check(artefact, "icarus") == _check(artefact, "verilator")


def test_when_a_program_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is long, or where the network has no room otherwise: on machines that can."""
    graph = resnet8()
    whole = compile_graph(graph, EDGE)
    size = 4 * len(whole.program)
    monkeypatch.setattr(link, "CHUNK_BYTES", 512)
    monkeypatch.setattr(link, "STREAMED_FROM", size)
    assert compile_graph(graph, EDGE).parts is None
    monkeypatch.setattr(link, "STREAMED_FROM", size - 1)
    assert compile_graph(graph, EDGE).parts is not None
    assert compile_graph(graph, EDGE.replace(external_bytes=0)).parts is None
    monkeypatch.setattr(link, "CHUNK_BYTES", 1072)  # would take more than the whole program
    assert compile_graph(graph, EDGE).parts is None
    monkeypatch.setattr(link, "CHUNK_BYTES", 512)
    monkeypatch.setattr(link, "STREAMED_FROM", 1 << 20)
    s = schedule(graph, EDGE)
    fits = compile_schedule(s, 16).sizes["total"]
    assert compile_schedule(s, 16, fits).parts is None
    short = compile_schedule(s, 16, fits - 1)
    assert short.parts is not None and short.sizes["total"] < fits
    with pytest.raises(UserError, match=r"\(program 1104, "):
        compile_schedule(s, 16, short.sizes["total"] - 1)


def test_a_program_without_a_semaphore_to_spare_stays_whole(
        chunked: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    chunked(512)
    graph = resnet8()
    used = max(i.values.get(name, 0) for i, _ in executed(compile_graph(graph, EDGE).program, 16)
               for name in ("signal0", "signal1"))
    monkeypatch.setattr(type(EDGE), "semaphores", property(lambda _: used + 1))
    assert compile_graph(graph, EDGE).parts is not None
    monkeypatch.setattr(type(EDGE), "semaphores", property(lambda _: used))
    assert compile_graph(graph, EDGE).parts is None
    numbers = [i.values.get("signal0", 0) for i, _ in executed(compile_graph(graph, EDGE).program, 16)]
    assert max(numbers) < used


def test_chunks_are_in_the_order_of_execution(chunked: Callable[[int], None]) -> None:
    _, artefact = _whole_and_cut(chunked, 512)
    assert artefact.parts is not None
    starts = [len(artefact.program) - sum(artefact.parts.words[k:]) for k in range(len(artefact.parts.words))]
    for (number, start), (_, end) in pairwise([*enumerate(starts), (-1, len(artefact.program))]):
        at = artefact.parts.external + number * artefact.parts.stride
        raw = b"".join(word.to_bytes(4, "little") for word in artefact.program[start:end])
        assert artefact.external[at:at + len(raw)] == raw
        assert not any(artefact.external[at + len(raw):at + artefact.parts.stride])


@pytest.mark.parametrize("length", [None, 5])
def test_a_transformer_of_words(length: int | None) -> None:
    """Words by number, a mask, products, softmax and norms on the Verilog of `edge`, in chunks or whole."""
    graph = model("words")
    session = Session(compile_graph(graph, EDGE, Goal("memory")), "verilator", check=True)
    session.infer(random_inputs(graph, 1), length)
    assert session.difference is None
    session.close()
