"""Which categories a number stands for: no two sets are equal, none dominates another; what a template may be."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selcgi.context import Band, ContextSpec
from selcgi.mapping.categories import BANDS, REQUEST, USER, Bands, clash, fill, misgivings, sample, unrank
from selcgi.mapping.chain import Chain
from selcgi.mapping.index import Index
from selcgi.mapping.rules import parse, shared
from selcgi.mapping.table import Table

FORMS = (f"s0:{USER}", f"s0:c5,{USER}", f"s0:{USER},{REQUEST}", f"s0:{USER}-s0:{USER},{REQUEST}", f"s0:{REQUEST}")
USERS = st.integers(0, BANDS.users - 1)
REQUESTS = st.integers(0, BANDS.requests - 1)


def spec_of(text: str) -> ContextSpec:
    return ContextSpec("user_webapp_t", text)


def filled(form: str, user: int, request: int) -> ContextSpec:
    spec = fill(spec_of(form), USER, unrank(user, BANDS.user))
    return fill(spec, REQUEST, unrank(request, BANDS.request))


def levels(spec: ContextSpec) -> list[frozenset[str]]:
    """The categories of each level; there is no span among them."""
    return [frozenset(level.removeprefix("s0").removeprefix(":").split(",")) for level in (spec.range or "").split("-")]


@pytest.mark.parametrize("band", [Band(0, 1), Band(488, 511), Band(7, 99)])
def test_a_band_gives_every_pair_once(band: Band) -> None:
    width = len(band)
    pairs = [unrank(number, band) for number in range(width * (width - 1) // 2)]
    assert set(pairs) == set(combinations(range(band.first, band.last + 1), 2))
    assert len(set(pairs)) == len(pairs)
    with pytest.raises(IndexError):
        unrank(len(pairs), band)
    with pytest.raises(IndexError):
        unrank(-1, band)


def test_the_shipped_bands() -> None:
    assert (BANDS.users, BANDS.requests) == (130_816, 276)
    assert unrank(0, BANDS.user) == (512, 513)
    assert unrank(BANDS.users - 1, BANDS.user) == (1022, 1023)


def test_a_wider_band_gives_the_same_number_the_same_pair() -> None:
    assert [unrank(n, Band(512, 600)) for n in range(3000)] == [unrank(n, Band(512, 1023)) for n in range(3000)]


@given(st.sampled_from(FORMS[:4]), st.sampled_from(FORMS[:4]), USERS, USERS, REQUESTS, REQUESTS)
def test_no_level_of_a_user_dominates_one_of_another(
    form: str, other_form: str, user: int, other: int, request: int, other_request: int
) -> None:
    if user != other:
        for level in levels(filled(form, user, request)):
            for another in levels(filled(other_form, other, other_request)):
                assert not level >= another


@given(USERS, REQUESTS, REQUESTS)
def test_requests_of_one_user_are_apart_and_keep_his_files(user: int, request: int, other: int) -> None:
    low, high = levels(filled(FORMS[3], user, request))
    low_of_other, high_of_other = levels(filled(FORMS[3], user, other))
    assert low == low_of_other == levels(filled(FORMS[0], user, request))[0]
    assert high > low
    assert (high >= high_of_other) == (request == other)


@pytest.mark.parametrize("text", ["c0.c0", "c5.c4", "c1", "c1.c2,c4", "s0:c1.c2", "", "c1.c2\n", "c1.c222222"])
def test_text_that_is_no_band(text: str) -> None:
    with pytest.raises(ValueError, match="is no band"):
        Band.parse(text)


def test_bands_that_overlap_are_refused() -> None:
    assert str(Band.parse("c10.c20")) == "c10.c20"
    assert Bands(Band(10, 20), Band(21, 30)).users == 55
    for request in (Band(20, 30), Band(5, 10), Band(12, 13), Band(0, 99)):
        with pytest.raises(ValueError, match="overlap"):
            Bands(Band(10, 20), request)


def test_a_sample_has_no_place_left_and_others_stay() -> None:
    assert sample(spec_of(FORMS[3])).range == "s0:c1022,c1023-s0:c1022,c1023,c510,c511"
    assert sample(spec_of("s0:c1")) == spec_of("s0:c1")
    assert sample(ContextSpec("user_webapp_t")) == ContextSpec("user_webapp_t")


def test_specs_are_samples_and_templates_are_not() -> None:
    mapping = Chain([Table([Index(f"* user_webapp_t:s0:{USER}\nbob user_webapp_t:s0:c1\n".encode(), "site.map")])])
    assert next(mapping.templates()) == (spec_of(f"s0:{USER}"), "site.map:1")
    assert tuple(mapping.specs()) == ((spec_of("s0:c1022,c1023"), "site.map:1"), (spec_of("s0:c1"), "site.map:2"))
    assert next(mapping.specs(Bands(Band(0, 9), BANDS.request))) == (spec_of("s0:c8,c9"), "site.map:1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"s0:c5,{USER}", None),
        ("s0:c1.c487", None),
        ("", None),
        ("s0", None),
        (f"s0:c600,{USER}", Band(600, 600)),
        ("s0:c512,c513", Band(512, 512)),
        ("s0:c1-s0:c1,c489", Band(489, 489)),
        ("s0-s0:c0.c488", Band(0, 488)),
        ("s0-s0:c0.c1023", None),  # who shall read everything
        (f"s0:{REQUEST}-s0:c0.c1023,{REQUEST}", Band(0, 1023)),
    ],
)
def test_categories_that_could_be_somebodys_own_are_found(text: str, found: Band | None) -> None:
    assert clash(text, BANDS) == found


@pytest.mark.parametrize(
    ("form", "words"), [(f"s0-s0:{USER}", USER), (f"s0:{REQUEST}", REQUEST), (f"s0:{USER},{REQUEST}", REQUEST)]
)
def test_levels_of_new_files_that_may_not_be_meant(form: str, words: str) -> None:
    (found,) = misgivings(spec_of(form))
    assert f"carry {words}" in found


@pytest.mark.parametrize("form", [FORMS[0], FORMS[1], FORMS[3], f"s0-s0:{REQUEST}", "s0:c1", "s0"])
def test_levels_of_new_files_as_they_should_be(form: str) -> None:
    assert misgivings(spec_of(form)) == []


def test_users_with_categories_of_their_own_share_nothing() -> None:
    text = f"* user_webapp_t:s0:{USER} script=/a\nb* user_webapp_t:s0:{USER}\nc* user_webapp_t:s0\n"
    assert [rule.line for rule in shared(parse(text, "site.map"))] == [3]
