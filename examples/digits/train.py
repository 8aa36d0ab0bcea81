"""Trains the digits network and writes digits.onnx (float32, batch normalisation left as nodes).

Needs PyTorch, scikit-learn and onnx: `python examples/digits/train.py`. The result is in the repository; nothing else
needs this.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from data import load
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

EPOCHS = 60
BATCH = 64
OPSET = 17
OUTPUT = Path(__file__).with_name("digits.onnx")


class DigitsNetwork(nn.Module):
    """About 42 thousand weights: two convolutions, a residual block, a pool, a convolution, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.norm3 = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv4, self.norm4 = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv5 = nn.Conv2d(32, 64, 3, padding=1)
        self.classifier = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.conv1(image)))
        x = torch.relu(self.norm2(self.conv2(x)))
        y = torch.relu(self.norm3(self.conv3(x)))
        y = self.norm4(self.conv4(y))
        x = functional.max_pool2d(torch.relu(x + y), 2)
        x = torch.relu(self.conv5(x))
        return self.classifier(x.mean(dim=(2, 3)))


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to one pixel either way, half of them left alone."""
    padded = functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2))
    moves[torch.rand(len(images)) < 0.5] = 1
    return torch.stack([image[:, r:r + 8, c:c + 8] for image, (r, c) in zip(padded, moves.tolist(), strict=True)])


def train() -> DigitsNetwork:
    """The network after EPOCHS over the training images; the test images only report."""
    torch.manual_seed(1)
    digits = load()
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    network = DigitsNetwork()
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-2)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=EPOCHS * batches)
    for epoch in range(EPOCHS):
        network.train()
        order = torch.randperm(len(images))
        for chosen in order[:batches * BATCH].split(BATCH):
            loss = functional.cross_entropy(network(shifted(images[chosen])), labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}, test {accuracy(network):.2%}", flush=True)
    return network


def accuracy(network: DigitsNetwork) -> float:
    """Share of the test images that the network names rightly."""
    network.eval()
    digits = load()
    with torch.no_grad():
        answers = network(torch.from_numpy(digits.test_images)).argmax(1).numpy()
    return float((answers == digits.test_labels).mean())


def export(network: DigitsNetwork) -> onnx.ModelProto:
    """The trained network as ONNX, node for node as `forward` computes it."""
    weights = {name: value.numpy() for name, value in network.state_dict().items() if value.dtype == torch.float32}
    nodes: list[onnx.NodeProto] = []

    def conv(x: str, number: int, norm: bool) -> str:
        parameters = [f"conv{number}.weight"] + ([] if norm else [f"conv{number}.bias"])
        nodes.append(helper.make_node("Conv", [x, *parameters], [f"conv{number}"], f"conv{number}",
                                      kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        if not norm:
            return f"conv{number}"
        statistics = [f"norm{number}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        nodes.append(helper.make_node("BatchNormalization", [f"conv{number}", *statistics], [f"norm{number}"],
                                      f"norm{number}", epsilon=1e-5))
        return f"norm{number}"

    def operator(kind: str, name: str, inputs: list[str], **attributes: int | list[int]) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    stem = operator("Relu", "relu1", [conv("image", 1, True)])
    trunk = operator("Relu", "relu2", [conv(stem, 2, True)])
    inner = operator("Relu", "relu3", [conv(trunk, 3, True)])
    joined = operator("Relu", "relu4", [operator("Add", "residual", [trunk, conv(inner, 4, True)])])
    pooled = operator("MaxPool", "pool", [joined], kernel_shape=[2, 2], strides=[2, 2])
    features = operator("GlobalAveragePool", "average", [operator("Relu", "relu5", [conv(pooled, 5, False)])])
    vector = operator("Flatten", "flatten", [features], axis=1)
    operator("Gemm", "logits", [vector, "classifier.weight", "classifier.bias"], transB=1)
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="systolith",
                              ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    trained = train()
    onnx.save(export(trained), OUTPUT)
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size} bytes, test accuracy {accuracy(trained):.2%}")
