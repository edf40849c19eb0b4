import pytest

from marotte.runtime.compare.summary import plain, small_words, spread, summarise


def value(number, low=None, high=None, note="", **more) -> dict:
    return {"value": number, "low": low, "high": high, "count": 10, "note": note, **more}


def figure(key: str, family: str = "speech", unit: str = "mm", small: float = 0.0, share: float = 0.0) -> dict:
    found = {"key": key, "title": f"The {key}", "family": family, "unit": unit, "better": ""}
    return {**found, "small": small, "small_share": share}


def results(values: dict, differences: dict, figures: list, **more) -> dict:
    return {
        "audio": {"file": "speech.wav", "seconds": 10.0},
        "fps": 25.0,
        "baseline": "a",
        "arms": [{"name": name} for name in values],
        "shares": {"same": ["The sound is the same."], "differs": ["The basis differs."]},
        "figures": figures,
        "values": values,
        "differences": differences,
        **more,
    }


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.1234, "−0.123"),
        (1234.6, "1235"),
        (999.7, "1000"),
        (-60000, "−60000"),
        (60000, "60000"),
        (2.5e-5, "0.000025"),
        (None, "—"),
        (float("inf"), "—"),
        (1e-9, "1e−09"),
        (100.0, "100"),
    ],
)
def test_numbers_in_words(number, words):
    assert plain(number) == words


def test_intervals_have_the_digits_that_they_deserve():
    assert list(spread(20.4790, 20.4561, 20.5312)) == ["20.48", "20.46", "20.53"]
    assert list(spread(6.4213, 5.3211, 7.7689)) == ["6.4", "5.3", "7.8"]
    assert list(spread(98.94, 73.3, 125.2)) == ["99", "73", "125"]
    assert list(spread(-0.001163, -0.0013, -0.000936)) == ["−0.00116", "−0.00130", "−0.00094"]
    assert list(spread(1.000002, 0.999999, 1.000004)) == ["1.000"] * 3
    assert list(spread(0.0001, -0.4, 0.5)) == ["0.00", "−0.40", "0.50"]
    assert list(spread(5.25, None, None)) == ["5.25", "—", "—"]


def lines_of(kind: str, told: list[str]) -> str:
    (line,) = [line for line in told if line.startswith(kind)]
    return line


def test_tells_what_is_sure_and_large_with_its_interval_and_counts_the_rest():
    figures = [figure("gain", unit="", small=0.05), figure("lag", unit="ms"), figure("jitter", "steadiness", small=0.2)]
    values = {
        "a": {"gain": value(0.98), "lag": value(1.0), "jitter": value(3.0)},
        "b": {"gain": value(0.49), "lag": value(3.0), "jitter": value(3.1)},
    }
    differences = {
        "b": {
            "gain": value(-0.49, -0.52, -0.45, differs=True),
            "lag": value(2.0, -1.0, 5.0, differs=False),
            "jitter": value(0.1, 0.08, 0.12, differs=True),
        }
    }
    told = summarise(results(values, differences, figures))
    assert lines_of("b against", told) == (
        "b against a: the gain 0.49 instead of 0.98 (−0.49, 95 % interval −0.52 to −0.45). Of the other figures 1 "
        "differs surely but too little to matter and 1 does not differ surely."
    )
    assert "The sound is the same." in told and any("The basis differs." in line for line in told)
    assert any("No overall score" in line for line in told)
    assert not any(word in line.lower() for line in told for word in ("winner", "best", "better"))


@pytest.mark.parametrize("apart", [1e-4, 0.0099, 0.0499, 0.15, 0.95, 1.04, 9.7, 14.5, 99.6])
@pytest.mark.parametrize("first", [0.0, 0.5, 6.4747, 99.95])
def test_values_that_differ_never_read_the_same(first, apart):
    values = {"a": {"x": value(first)}, "b": {"x": value(first + apart)}}
    differences = {"b": {"x": value(apart, 0.98 * apart, 1.02 * apart, differs=True)}}
    line = lines_of("b against", summarise(results(values, differences, [figure("x", unit="")])))
    own, _, rest = line.removeprefix("b against a: the x ").partition(" instead of ")
    assert own != rest.split()[0]
    low, high = rest.partition("interval ")[2].partition(")")[0].split(" to ")
    assert low != high and float(low) > 0


def test_what_is_sure_and_negligible_is_said_so():
    figures = [figure("opening", small=0.2), figure("cost", "cost", "ms", share=0.03)]
    values = {"a": {"opening": value(6.47), "cost": value(20.0)}, "b": {"opening": value(6.46), "cost": value(20.5)}}
    differences = {
        "b": {
            "opening": value(-0.008, -0.01, -0.006, differs=True),
            "cost": value(0.5, 0.4, 0.6, differs=True),
        }
    }
    told = summarise(results(values, differences, figures))
    assert (
        "b differs from a in no figure by as much as matters: of 2, 2 differ surely but too little to matter." in told
    )
    differences["b"]["cost"] = value(0.7, 0.6, 0.8, differs=True)
    assert lines_of("b against", summarise(results(values, differences, figures))).startswith("b against a: the cost")
    assert small_words(figures[0]) == "a difference up to 0.2 mm"
    assert small_words(figures[1]) == "a difference up to 3 % of the first arm's"


def test_the_largest_of_each_family_first_and_a_median_not_beside_its_mean():
    figures = [figure(f"s{i}", small=0.1) for i in range(5)] + [figure("far", "life", small=1.0)]
    figures += [figure("cost", "cost"), figure("p50", "cost")]
    figures[-1]["title"] = "The cost, median"
    values = {name: {each["key"]: value(1.0) for each in figures} for name in "ab"}
    differences = {"b": {f"s{i}": value(5.0 - i, 0.1, 9.9, differs=True) for i in range(5)}}
    differences["b"] |= {key: value(2.0, 1.9, 2.1, differs=True) for key in ("far", "cost", "p50")}
    line = lines_of("b against", summarise(results(values, differences, figures)))
    assert [word in line for word in ("the s0", "the s1", "the far", "the cost")] == [True] * 4
    assert "the s2" not in line and "median" not in line
    assert "4 more differ surely" in line


def test_a_difference_over_the_frames_of_both_stands_alone_where_values_are_of_more():
    values = {"a": {"gain": value(7.01)}, "b": {"gain": value(7.12)}}
    line = lines_of(
        "b against",
        summarise(results(values, {"b": {"gain": value(-0.9, -1.2, -0.6, differs=True)}}, [figure("gain")])),
    )
    assert "the gain −0.90 mm (95 % interval −1.20 to −0.60)" in line and "instead" not in line


def test_equal_arms_and_arms_without_a_sure_difference():
    figures = [figure("gain")]
    values = {name: {"gain": value(1.0)} for name in "abc"}
    values["b"]["difference_pair"] = value(0.0)
    differences = {
        "b": {"gain": value(0.0, 0.0, 0.0, differs=False)},
        "c": {"gain": value(0.1, -1.0, 1.0, differs=False)},
    }
    told = summarise(results(values, differences, figures))
    assert "b equals a in every figure. Their pictures are equal." in told
    assert "c differs surely from a in no figure of 1." in told


def test_says_what_could_not_be_measured_and_why():
    figures = [figure("lve", "reference"), figure("lmd", "reference"), figure("lag"), figure("psnr", "pair")]
    figures[3]["title"] = "PSNR"
    lost = value(None, note="no head model.")
    values = {
        "a": {"lve": lost, "lmd": lost, "lag": value(1.0)},
        "b": {"lve": lost, "lmd": lost, "lag": value(None, note="no sound"), "psnr": value(30.0)},
    }
    told = summarise(results(values, {}, figures))
    assert "Not measured: the lve and the lmd (no head model)." in told
    assert "Not measured for b: the lag (no sound)." in told
    assert not any("PSNR" in line for line in told)  # the first has none against itself
    # Many are counted.
    many = [figure(f"f{i}") for i in range(7)]
    values_of_many = {"a": {each["key"]: lost for each in many}}
    assert "Not measured: 7 figures (no head model); the tables say which." in summarise(
        results(values_of_many, {}, many)
    )
    # What is called the same twice is told apart.
    figures[3]["title"] = "The lve"
    values["b"]["psnr"] = lost
    families = {"pair": "Against the first arm", "reference": "Against the reference"}
    told = summarise(results(values, {}, figures, families=families))
    assert (
        "Not measured: the lve against the reference, the lmd and the lve against the first arm (no head model)."
        in told
    )


def test_what_nobody_asked_for_is_one_sentence():
    figures = [figure("psnr", "reference"), figure("lmd", "reference"), figure("lpips", "pair"), figure("lag")]
    none, off = value(None, note="no reference was given"), value(None, note="not asked for")
    values = {name: {"psnr": none, "lmd": none, "lpips": off, "lag": value(1.0)} for name in "ab"}
    told = [line for line in summarise(results(values, {}, figures)) if line.startswith("Not measured")]
    assert told == ["Not measured: anything against a reference (none was given) and LPIPS (not asked for)."]


def test_says_by_what_mouths_are_measured_where_that_differs():
    whole = results({"a": {}, "b": {}, "c": {}}, {}, [])
    for arm, by, unit in zip(
        whole["arms"], ("Gaussians", "Gaussians", "mouth in the picture"), ("mm", "mm", ""), strict=True
    ):
        arm |= {"opening_by": by, "opening_unit": unit}
    assert (
        "Mouth opening is measured by Gaussians (mm) for a and b; by mouth in the picture (as a share of its widest) "
        "for c: mm are not compared with shares." in summarise(whole)
    )
    whole["arms"].pop()
    assert not any("is measured by" in line for line in summarise(whole))


def test_says_how_alike_the_pictures_are():
    figures = [figure("psnr_pair", "pair", "dB"), figure("lag", unit="ms")]
    values = {"a": {"lag": value(1.0)}, "b": {"lag": value(1.0), "psnr_pair": value(31.2, 30.1, 32.4)}}
    told = summarise(results(values, {"b": {"lag": value(0.5, -1.0, 2.0, differs=False)}}, figures))
    assert lines_of("b differs", told).endswith("PSNR between their pictures: 31.2 dB.")


def test_an_arm_that_failed_and_an_arm_alone():
    one = results({"a": {}}, {}, [])
    one["arms"][0]["failed"] = {"at": 3.2, "why": "the features are not finite."}
    told = summarise(one)
    assert told[0] == "One arm, a, says 10 s of speech.wav at 25 frames a second."
    assert told[1].startswith("a failed at 3.2 s (the features are not finite); its figures")
