"""Any rule that spoke counts."""

from filters.opt_out import OptOut


def test_any_rule_counts(reasons):
    answers = reasons(OptOut(), opt_out=["noai", "tdm-reservation: 1", None])
    assert answers == ["owner_opted_out", "owner_opted_out", None]
