"""The demo: a float ONNX network becomes a machine's program, and real digits go through that machine's Verilog."""

import shutil
import sys
import time
from pathlib import Path

import numpy as np
from data import calibration, load
from pictures import pictures, shades_for

from systolith.gen import report
from systolith.gen.bench import LATENCY
from systolith.gen.cli import note, write_json
from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import save
from systolith.gen.errors import UserError
from systolith.gen.float_graph import float_execute
from systolith.gen.frontend import import_float, import_model, load_model
from systolith.gen.hardware import write_machine
from systolith.gen.presets import preset
from systolith.gen.run import Session
from systolith.sim.golden.execute import execute_batch, quantise_inputs

HERE = Path(__file__).resolve().parent
OUT = Path("build/demo")
PRESET = "edge"
IMAGES = 20
ICARUS_IMAGES = 2  # Icarus is some hundred times slower


def engine() -> tuple[str, int]:
    """Verilator where there is a C++ compiler, else Icarus, which is said."""
    if shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"):
        return "verilator", IMAGES
    note(f"there is no C++ compiler, so Icarus simulates instead of Verilator: slower, and {ICARUS_IMAGES} images only")
    return "icarus", ICARUS_IMAGES


def main() -> int:
    """Runs the whole path; the exit code is 1 where the machine disagrees with the golden model."""
    begin = time.monotonic()

    def step(text: str) -> None:
        note(f"[{time.monotonic() - begin:5.1f} s] {text}")

    OUT.mkdir(parents=True, exist_ok=True)
    digits = load()
    model = HERE / "digits.onnx"
    step(f"quantising {model.name} with {len(calibration()['image'])} calibration images")
    graph = import_model(model, calibration())
    step(f"golden model and float network on the {len(digits.test_images)} test images")
    output = graph.outputs[0]
    whole = {"image": np.moveaxis(digits.test_images, 1, 3)}  # the float executor takes [n, height, width, channels]
    floats = float_execute(import_float(load_model(model), model.name), whole)[output]
    float_answers = np.argmax(floats.reshape(len(digits.test_labels), -1), axis=1)
    integers = execute_batch(graph, {"image": digits.test_images})[output]
    integer_answers = np.argmax(integers.reshape(len(digits.test_labels), -1), axis=1)
    float_accuracy, integer_accuracy = ((a == digits.test_labels).mean() for a in (float_answers, integer_answers))

    config = preset(PRESET)
    step(f"compiling for {PRESET}")
    artefact = compile_graph(graph, config)
    compiled = OUT / "digits.slp"
    save(artefact, compiled)
    step("generating Verilog")
    files = write_machine(config, OUT)

    name, count = engine()
    step(f"building the simulation with {name}")
    session = Session(artefact, name, check=True, progress=note)
    images = quantise_inputs(graph, "image", digits.test_images[:count])
    answers, measurement = [], None
    for index, image in enumerate(images):
        outputs, measurement = session.infer({"image": image})
        answers.append(int(np.argmax(outputs[output])))
        note(f"image {index + 1} of {count} through the RTL", end="\r")
        if session.difference:
            print(f"image {index}: {session.difference}")
            return 1
    session.close()
    step(f"{count} images through the RTL, {session.compared} outputs equal to the golden model bit by bit")
    record = report.run_record(artefact, name, PRESET, True, measurement, LATENCY)
    record |= {"images": count, "float_accuracy": float_accuracy, "int8_accuracy": integer_accuracy}

    print()
    print(pictures(digits.test_images[:count], [f"{a}" if a == label else f"{a} ({label})"
                                                for a, label in zip(answers, digits.test_labels, strict=False)],
                   across=5, shades=shades_for(sys.stdout.encoding)))
    print(f"recognised {sum(a == b for a, b in zip(answers, digits.test_labels.tolist(), strict=False))} "
          f"of {count}; accuracy on {len(digits.test_labels)} test images: "
          f"float {float_accuracy:.2%}, int8 {integer_accuracy:.2%}\n")
    report.console().print(report.layer_table(record))
    for line in report.summary_lines(record):
        print(line)
    write_json(OUT / "report.json", record)
    print(f"\ncompiled network  {compiled}\nreport            {OUT / 'report.json'}")
    for path in files:
        print(f"hardware          {path}")
    note(f"[{time.monotonic() - begin:5.1f} s] done")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"demo: {error}")
