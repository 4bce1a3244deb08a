"""The hook on one module, without a pipeline: what it computes, and what it leaves behind."""

from __future__ import annotations

import contextlib
import inspect
import threading

import pytest
import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import nn
from torch._dynamo.testing import CompileCounter

from attnscope.hooks.apart import SelfAdding, Whole, adds_its_input, first_of
from attnscope.hooks.moments import Moment
from attnscope.hooks.site import SiteHook, hooked
from attnscope.plans.base import Action
from attnscope.plans.reuse import TGate
from attnscope.sites.attention import Site

GIVEN = torch.arange(6.0).reshape(1, 3, 2)


class Attention(nn.Module):
    """Doubles what it is given, then adds it and rescales, as diffusers' attention does."""

    def __init__(self, residual=False, factor=1.0):
        super().__init__()
        self.residual_connection, self.rescale_output_factor = residual, factor

    def forward(self, hidden_states):
        result = 2 * hidden_states
        if self.residual_connection:
            result = result + hidden_states
        return result / self.rescale_output_factor


class Conductor:
    """Lets everything be computed, or answers in the module's place."""

    def __init__(self, instead=None):
        self.instead, self.given, self.results = instead, [], []

    def before(self, hook, module, given):
        self.given.append(first_of(*given))
        return self.instead

    def listening(self, hook, module, given):
        return None

    def after(self, hook, module, given, result):
        self.results.append(result)
        return result


class Plus(ModelHook):
    """Somebody else's hook, which adds to what comes out."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def post_forward(self, module, output):
        return output + self.number


class Around(ModelHook):
    """The same by a forward of its own."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def new_forward(self, module, *args, **kwargs):
        return self.fn_ref.original_forward(*args, **kwargs) + self.number


def hook_of(conductor, way=None):
    return SiteHook(Site("attn", "self", "block", 0), conductor, way or Whole())


def state(module):
    """What a hook could leave behind."""
    return {name: value for name, value in vars(module).items() if name not in ("_modules",)}


@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("residual", [False, True])
def test_a_result_taken_apart_is_completed_to_what_the_module_gives(residual, factor):
    module = Attention(residual, factor)
    conductor = Conductor()
    with hooked(module, hook_of(conductor, SelfAdding())):
        alone = module(GIVEN)
        assert (module.residual_connection, module.rescale_output_factor) == (residual, factor)
    assert torch.equal(alone, 2 * GIVEN)
    assert torch.equal(SelfAdding().output(module, alone, ((GIVEN,), {})), module(GIVEN))


def test_a_module_that_fails_has_its_switches_back():
    module = Attention(True, 2.0)
    with hooked(module, hook_of(Conductor(), SelfAdding())), pytest.raises(TypeError):
        module("no tensor")
    assert (module.residual_connection, module.rescale_output_factor) == (True, 2.0)
    assert torch.equal(module(GIVEN), 1.5 * GIVEN)


@pytest.mark.parametrize(
    ("module", "apart"),
    [
        (Attention(), False),
        (Attention(residual=True), True),
        (Attention(factor=2.0), True),
        (Attention(factor=0.5), True),
        (nn.Identity(), False),
    ],
    ids=["neither", "residual", "halved", "doubled", "without switches"],
)
def test_results_are_taken_apart_where_there_is_something_to_take(module, apart):
    assert adds_its_input(module) is apart


def test_a_result_is_whole_where_nothing_is_taken_apart():
    module = Attention(True, 2.0)
    with hooked(module, hook_of(Conductor())):
        assert torch.equal(module(GIVEN), 1.5 * GIVEN)


@pytest.mark.parametrize("by_name", [False, True])
def test_what_is_returned_instead_is_not_computed(by_name):
    instead, conductor = torch.ones(1), Conductor(torch.ones(1))
    module = Attention()
    with hooked(module, hook_of(conductor)):
        output = module(hidden_states=GIVEN) if by_name else module(GIVEN)
    assert torch.equal(output, instead)
    assert conductor.given[0] is GIVEN
    assert conductor.results == []


def test_a_module_attends_from_its_first_argument():
    assert first_of((GIVEN, 1), {}) is GIVEN
    assert first_of((), {"hidden_states": GIVEN}) is GIVEN
    assert first_of((), {"input_tensor": GIVEN}) is GIVEN
    assert first_of((GIVEN,), {"hidden_states": None}) is GIVEN
    assert first_of((), {}) is None


def test_a_module_is_restored_to_the_letter():
    module = Attention()
    before = state(module)
    with hooked(module, hook_of(Conductor())):
        assert "forward" in vars(module)
    assert state(module) == before
    assert torch.equal(module(GIVEN), 2 * GIVEN)


def test_a_forward_of_the_modules_own_is_left_to_it():
    module = Attention()
    module.forward = lambda hidden_states: 5 * hidden_states
    with hooked(module, hook_of(Conductor())):
        assert torch.equal(module(GIVEN), 5 * GIVEN)
    assert "forward" in vars(module)
    assert torch.equal(module(GIVEN), 5 * GIVEN)


def test_an_empty_registry_of_before_is_left():
    module = Attention()
    HookRegistry.check_if_exists_or_initialize(module)
    with hooked(module, hook_of(Conductor())):
        pass
    assert module._diffusers_hook.hooks == {}


@pytest.mark.parametrize("kind", [Plus, Around])
def test_hooks_of_before_go_on(kind):
    module, conductor = Attention(), Conductor()
    HookRegistry.check_if_exists_or_initialize(module).register_hook(kind(10), "other")
    before = set(vars(module))
    with hooked(module, hook_of(conductor)):
        assert torch.equal(module(GIVEN), 2 * GIVEN + 10)
    assert set(vars(module)) == before
    assert torch.equal(module(GIVEN), 2 * GIVEN + 10)
    assert len(conductor.given) == 1


@pytest.mark.parametrize("first", [None, Plus, Around])
@pytest.mark.parametrize("second", [None, Plus, Around])
@pytest.mark.parametrize("later", [Plus, Around])
def test_hooks_that_were_put_on_inside_go_on(first, later, second):
    module, conductor = Attention(), Conductor()
    registry = HookRegistry.check_if_exists_or_initialize(module)
    expected = 2 * GIVEN + 10
    if first is not None:
        registry.register_hook(first(100), "first")
        expected = expected + 100
    with hooked(module, hook_of(conductor)):
        registry.register_hook(later(10), "later")
        if second is not None:
            registry.register_hook(second(1000), "second")
            expected = expected + 1000
        assert torch.equal(module(GIVEN), expected)
    assert torch.equal(module(GIVEN), expected)
    assert len(conductor.given) == 1
    assert "attnscope" not in registry.hooks


def test_two_hooks_of_ours_are_one_too_many():
    module = Attention()
    with (
        hooked(module, hook_of(Conductor())),
        pytest.raises(RuntimeError, match="Attention still carries a hook of an earlier Trace"),
        hooked(module, hook_of(Conductor())),
    ):
        pass
    assert torch.equal(module(GIVEN), 2 * GIVEN)


def test_a_forward_that_was_replaced_inside_is_not_thrown_away():
    module = Attention()

    def replaced(hidden_states):
        return -hidden_states

    with (
        pytest.raises(RuntimeError, match=r"Attention\.forward was replaced inside a Trace"),
        hooked(module, hook_of(Conductor())),
    ):
        module.forward = replaced
    assert module.forward is replaced


def test_an_exception_inside_takes_the_hook_off():
    module = Attention()
    before = state(module)
    with pytest.raises(KeyError), hooked(module, hook_of(Conductor())):
        raise KeyError("stop")
    assert state(module) == before


def test_a_new_hook_has_counted_and_kept_nothing():
    hook = hook_of(Conductor())
    assert (hook.computed, hook.stored, hook.reused) == (0, 0, 0)
    assert (hook.settled, hook.actions, hook.last_reuses) == (False, (), frozenset())
    assert hook.watchers == ()


def at(step, batch=1, rows=None):
    """A moment; all rows of the batch are worked on, if nothing else is said."""
    return Moment(step, 0, batch, batch if rows is None else rows)


def test_what_is_kept_is_the_result_itself_or_a_copy_of_it():
    for copy in (False, True):
        hook, result = hook_of(None), GIVEN.clone()
        hook.store((result,), GIVEN, at(0), 0, copy=copy)
        (kept,) = hook.reuse(GIVEN, at(1), 0)
        assert torch.equal(kept, GIVEN)
        assert (kept.data_ptr() == result.data_ptr()) is not copy


def test_a_copy_outlives_what_it_was_copied_from():
    hook, result = hook_of(None), GIVEN.clone()
    hook.store((result,), GIVEN, at(0), 0, copy=True)
    result.zero_()
    assert torch.equal(hook.reuse(GIVEN, at(1), 0)[0], GIVEN)


@pytest.mark.parametrize("inference", [False, True])
def test_a_result_that_was_changed_in_place_is_not_reused(inference):
    with torch.inference_mode(inference):
        hook, result = hook_of(None), GIVEN.clone()
        hook.store((result,), GIVEN, at(0), 0, copy=False)
        assert torch.equal(hook.reuse(GIVEN, at(1), 0)[0], GIVEN)
        if inference:  # such tensors do not count their changes
            return
    result.add_(1)
    with pytest.raises(RuntimeError, match="what attn stored was changed in place"):
        hook.reuse(GIVEN, at(2), 0)


def test_what_is_kept_has_no_gradient():
    hook, result = hook_of(None), (GIVEN.clone().requires_grad_() * 2)
    for copy, caller in ((False, "cond"), (True, "uncond")):
        hook.store((result,), GIVEN, at(0), caller, copy=copy)
        assert not hook.reuse(GIVEN, at(1), caller)[0].requires_grad


def test_what_was_stored_for_fewer_rows_than_the_call_has_is_an_error():
    hook = hook_of(None)
    hook.store((GIVEN.repeat(4, 1, 1),), GIVEN.repeat(4, 1, 1), at(0, 4), 0, copy=False)
    with pytest.raises(RuntimeError, match=r"of \[4, 3, 2\] and is now called on \[1, 3, 2\]"):
        hook.reuse(GIVEN, at(1, 2, 1), 0)


def test_a_module_that_is_called_twice_in_a_step_is_an_error():
    hook = hook_of(None)
    hook.store((GIVEN,), GIVEN, at(0), 0, copy=False)
    hook.store((GIVEN,), GIVEN, at(0), 1, copy=False)  # another call of the denoiser
    with pytest.raises(RuntimeError, match="attn is called several times in a step"):
        hook.store((GIVEN,), GIVEN, at(0), 0, copy=False)
    hook.store((2 * GIVEN,), GIVEN, at(1), 0, copy=False)
    assert torch.equal(hook.reuse(GIVEN, at(2), 0)[0], 2 * GIVEN)
    assert torch.equal(hook.reuse(GIVEN, at(2), 1)[0], GIVEN)


def test_what_is_stored_and_reused_is_counted():
    hook = hook_of(None)
    for step, stored in enumerate((1, 2)):
        hook.store((GIVEN,), GIVEN, at(step), 0, copy=False)
        assert (hook.computed, hook.stored, hook.reused) == (0, stored, 0)
    for step, reused in ((2, 1), (3, 2)):
        hook.reuse(GIVEN, at(step), 0)
        assert (hook.computed, hook.stored, hook.reused) == (0, 2, reused)


def test_a_hook_does_what_the_trajectory_says_and_keeps_nothing_longer_than_it_needs():
    hook = SiteHook(Site("attn", "cross", "block", 0), None, Whole())
    hook.follow(TGate(2).over(4))
    assert hook.actions == (Action.COMPUTE, Action.STORE, Action.REUSE, Action.REUSE)
    assert hook.last_reuses == {3}
    hook.store((GIVEN,), GIVEN, at(1), 0, copy=False)
    for step in (2, 3):
        assert torch.equal(hook.reuse(GIVEN, at(step), 0)[0], GIVEN)
    with pytest.raises(RuntimeError, match="attn is to reuse its output at step 3, but"):
        hook.reuse(GIVEN, at(3), 0)


def test_a_hook_forgets_what_it_stored_and_when():
    hook = hook_of(None)
    hook.store((GIVEN,), GIVEN, at(0), 0, copy=False)
    hook.forget()
    with pytest.raises(RuntimeError, match="did not call it at the step that stores it"):
        hook.reuse(GIVEN, at(1), 0)
    hook.store((GIVEN,), GIVEN, at(0), 0, copy=False)  # of the next run


class Meeting(Attention):
    """Two threads meet in it, if the second comes before the first has lost patience."""

    def __init__(self, patience):
        super().__init__()
        self.barrier, self.patience, self.met = threading.Barrier(2), patience, False

    def forward(self, hidden_states):
        with contextlib.suppress(threading.BrokenBarrierError):
            self.barrier.wait(self.patience)
            self.met = True
        return hidden_states


@pytest.mark.parametrize(("apart", "seconds"), [(False, 20), (True, 0.1)])
def test_threads_wait_for_one_another_only_where_a_module_has_its_switches_turned(apart, seconds):
    module = Meeting(seconds)
    with hooked(module, hook_of(Conductor(), SelfAdding() if apart else Whole())):
        threads = [threading.Thread(target=module, args=(GIVEN,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert module.met is not apart


@pytest.mark.parametrize("later", [None, Around])
def test_hooks_of_ours_within_the_module_stay(later):
    """An attention within an attention is a site of its own."""
    module, conductor = Attention(), Conductor()
    module.inner = Attention()
    with hooked(module.inner, hook_of(conductor)):
        with hooked(module, hook_of(Conductor())):
            if later is not None:
                HookRegistry.check_if_exists_or_initialize(module).register_hook(later(1), "later")
        module.inner(GIVEN)
    assert len(conductor.given) == 1


def test_of_all_that_a_hook_does_the_attention_alone_becomes_a_graph():
    class Busy(Conductor):
        def before(self, hook, module, given):
            self.given.append(first_of(*given) + 1)

        def after(self, hook, module, given, result):
            return result + 1

    torch._dynamo.reset()
    module, counter = Attention(factor=4.0), CompileCounter()
    with hooked(module, hook_of(Busy())):
        compiled = torch.compile(nn.Sequential(module), backend=counter)
        for _ in range(2):
            assert torch.equal(compiled(GIVEN), 0.5 * GIVEN + 1)
    torch._dynamo.reset()
    assert (counter.frame_count, counter.op_count) == (1, 2)  # doubles and rescales


def test_one_graph_of_all_is_refused_with_what_to_do():
    torch._dynamo.reset()
    module = Attention()
    compiled = torch.compile(nn.Sequential(module), backend="eager", fullgraph=True)
    told = "reason" in inspect.signature(torch.compiler.disable).parameters  # not by torch 2.6
    said = "compile without fullgraph=True" if told else None
    with (
        hooked(module, hook_of(Conductor())),
        pytest.raises(torch._dynamo.exc.Unsupported, match=said),
    ):
        compiled(GIVEN)
    torch._dynamo.reset()
