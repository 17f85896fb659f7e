"""The columns of what is summed up and counted of each example: `Run.step_sums` and its kin."""

__all__ = ["EVENTS", "SUMS"]

SUMS = ("margin", "tanh_margin", "probability", "probability_squared", "loss")
EVENTS = ("wrong", "forgotten", "first_learned", "learned_for_good", "last")
