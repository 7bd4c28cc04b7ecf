"""What two runs of an application have taught: what it lacked, and what the second run, enforcing, was refused again.

Decides what each refusal is of: a rule that nobody gave, what no rule allows (a constraint, a context that does not
exist), or what was left out as dangerous. An application that copes with a refusal was refused nevertheless. Pure but
for the questions to the policy. Used by learn/rehearsal.py, shown by cli/learn.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selcgi.policy.learned import Rule, Want
from selcgi.system.audit import Denial
from selcgi.system.policy import Policy
from selcgi.system.refusals import SILENT, cause_of, wish


@dataclass(frozen=True, slots=True)
class Refused:
    """By the second run, a sentence each: `missing` in the block, `unallowed` by any rule, `withheld` as dangerous."""

    missing: tuple[str, ...] = ()
    unallowed: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lesson:
    """`rules`: all that was lacking. `explained`: refusals of the first run that no rule cures. `lost`: the kernel had
    more to say than was read."""

    rules: tuple[Rule, ...]
    explained: tuple[str, ...]
    before: tuple[str, ...]  # the status of each request, permissive
    after: tuple[str, ...]  # and enforcing, with what was learned; none where all were failing
    refused: Refused
    lost: bool
    failing: tuple[str, ...] = ()  # requests that failed where nothing was refused

    @property
    def proven(self) -> bool:
        """The block is complete: what was refused all the same, no block of rules should or could give. Not known of
        an application that does not work where it may do all."""
        return not (self.refused.missing or self.lost or self.failing) and self.before == self.after

    @property
    def nothing_refused(self) -> bool:
        return self.proven and self.refused == Refused()

    @property
    def verdict(self) -> str:
        if self.nothing_refused:
            return "proven: with this block nothing is missing"
        if self.failing:
            return "not proven: it fails where nothing is refused, too; mend that, and learn again"
        parts = (
            f"{what} ({len(found)})"
            for what, found in (
                ("what no rule allows", self.refused.unallowed),
                ("what was left out as dangerous", self.refused.withheld),
            )
            if found
        )
        told = " and ".join(parts)
        if self.proven:
            return f"proven, but for {told}:"
        return f"not proven; refused again was {told}:" if told else "not proven"

    @property
    def missing(self) -> tuple[str, ...]:
        """With what is possible where the requests ended otherwise, and nothing that was recorded says why."""
        unexplained = self.before != self.after and not (self.lost or self.failing) and self.refused == Refused()
        return (SILENT,) if unexplained else self.refused.missing


def sort_out(denials: Iterable[Denial], twin: str, domain: str, policy: Policy) -> tuple[list[Want], list[str]]:
    """What rules would allow, and what no rule does, a sentence each; in the name of the domain."""
    wants, explained = [], {}
    for denial in denials:
        cause = cause_of(denial, policy)
        if cause.kind == "rule" and not denial.error:
            wants.append(_want(denial, twin, domain))
        else:
            explained[f"it wanted to {wish(denial)}: refused, {cause.text}"] = cause.fix
    texts = (f"{text}; {fix}" if fix else text for text, fix in explained.items())
    return wants, [text.replace(twin, domain) for text in texts]


def _want(denial: Denial, twin: str, domain: str) -> Want:
    target = denial.target.split(":")[2]
    example = wish(denial).replace(twin, domain)
    return Want("self" if target == twin else target, denial.classname, denial.permissions, example)


def refused_again(wants: Iterable[Want], unallowed: Iterable[str], withheld: Sequence[Rule]) -> Refused:
    """By cause. `withheld`: the rules that were left out: what was wanted once is wanted again, record or not, for the
    way to it may be refused without one (dontaudit)."""
    left_out = {(rule.target, rule.classname, name) for rule in withheld for name in rule.permissions}
    missing = dict[str, None]()
    for want in wants:
        if lacking := [name for name in want.permissions if (want.target, want.classname, name) not in left_out]:
            missing[f"it still wanted to {want.example} ({' '.join(lacking)})"] = None
    dangers = tuple(f"it wanted to {rule.example}: {rule.danger}" for rule in withheld)
    return Refused(tuple(missing), tuple(dict.fromkeys(unallowed)), dangers)
