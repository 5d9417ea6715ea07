"""`torch.compile` sees each stage of a model as one graph, and gives the same scores."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.unit.inference.test_shared_frames import model_of

if TYPE_CHECKING:
    from torch import Tensor

    from msqnet.model.pretrained import MSQNet
    from msqnet.model.video_encoders.encoder import FrameFeatures


def stages(model: MSQNet) -> dict[str, Any]:
    return {"frame_features": model.frame_features, "score_frames": model.score_frames}


def frames_of(model: MSQNet, num_clips: int) -> Tensor:
    clip = model.config.clip_config
    generator = torch.Generator().manual_seed(num_clips)
    shape = (num_clips * clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def logits(model: MSQNet, steps: dict[str, Any], num_clips: int) -> Tensor:
    def looked(*, is_motion_crop: bool) -> FrameFeatures:
        features = steps["frame_features"](
            frames_of(model, num_clips), is_motion_crop=is_motion_crop
        )
        return {name: values.unflatten(0, (num_clips, -1)) for name, values in features.items()}

    motion_crops = looked(is_motion_crop=True) if model.config.clip_config.closeup else None
    found: Tensor = steps["score_frames"](looked(is_motion_crop=False), motion_crops).logits
    return found


@pytest.mark.parametrize(
    "kind",
    ["timesformer", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("lite", "vit"))],
)
def test_no_stage_breaks_the_graph(kind: str) -> None:
    """``fullgraph`` makes a break an error; the backend runs the captured graph as it is."""
    model = model_of(kind).prepare_for_inference()
    captured = {
        name: torch.compile(stage, fullgraph=True, backend="eager")
        for name, stage in stages(model).items()
    }
    with torch.no_grad():
        expected = logits(model, stages(model), 2)
        torch.testing.assert_close(logits(model, captured, 2), expected)
        # Whole models too.
        clips = frames_of(model, 1)[None]
        inputs = {"pixels": clips, "motion_crops": clips if kind == "lite" else None}
        whole = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(whole(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        ("timesformer", None),
        ("timesformer", torch.bfloat16),
        ("lite", torch.bfloat16),
        pytest.param("lite", None, marks=pytest.mark.slow),
    ],
)
def test_a_training_step_is_one_graph(kind: str, precision: torch.dtype | None) -> None:
    """As the Trainer compiles: the whole model, with gradients, maybe under autocast."""
    model = copy.deepcopy(model_of(kind)).train()
    clips = frames_of(model, 2).unflatten(0, (2, -1))
    motion_crops = clips if kind == "lite" else None

    def gradients(step: Any) -> dict[str, Tensor]:
        model.zero_grad()
        torch.manual_seed(0)  # of dropout
        with torch.autocast("cpu", precision, enabled=precision is not None):
            step(pixels=clips, motion_crops=motion_crops).logits.float().square().mean().backward()
        return {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }

    expected = gradients(model)
    assert any(bool(values.any()) for values in expected.values())
    found = gradients(torch.compile(model, fullgraph=True, backend="eager"))
    torch.testing.assert_close(found, expected)


class HostTraffic(TorchDispatchMode):
    """Notes what a CUDA graph cannot hold: numbers that Python gives or asks for at every call."""

    NAMES = ("aten::lift_fresh", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.found += [func.name() for name in self.NAMES if func.name().startswith(name)]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["timesformer", "lite", "vit"])
def test_in_a_stage_nothing_passes_between_python_and_the_device(kind: str) -> None:
    """So that the kernels of a call can be recorded once and played again."""
    model = model_of(kind).prepare_for_inference()
    with HostTraffic() as control:
        float(torch.tensor([1.0]))
    assert len(control.found) == 2
    with torch.inference_mode(), HostTraffic() as traffic:
        logits(model, stages(model), 2)
    assert not traffic.found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # torch's own
def test_compiled_code_gives_the_same_logits() -> None:
    model = model_of("timesformer").prepare_for_inference()
    compiled = {name: torch.compile(stage, dynamic=True) for name, stage in stages(model).items()}
    with torch.no_grad():
        for num_clips in (2, 3):
            expected = logits(model, stages(model), num_clips)
            found = logits(model, compiled, num_clips)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
