"""Our `math` verdicts against Math-Verify's, on answers of another form."""
import json
import logging
import subprocess

from math_verify import parse, verify

EQUAL = [
    ("(0, 12.5)", "0 < x < 12.5"), ("x<3", "(-\\infty, 3)"), ("[2,\\infty)", "x \\ge 2"), ("2x+4y-3=0", "y = -\\frac{1}{2}x+\\frac{3}{4}"),
    ("34x+45y-20z+100=0", "-34x-45y+20z-100=0"), ("y=2x+1", "2x-y+1=0"), ("(x-1)^2+y^2=4", "x^2-2x+y^2=3"), ("\\frac{1}{3}", "0.\\overline{3}"),
    ("\\binom{5}{2}", "10"), ("10", "{5 \\choose 2}"), ("\\sin 30^\\circ", "0.5"), ("\\cos 60^{\\circ}", "\\frac{1}{2}"), ("2\\sin 60^\\circ", "\\sqrt{3}"),
    ("\\emptyset", "\\varnothing"), ("\\mathbb{R}", "(-\\infty,\\infty)"), ("\\lfloor 2.5 \\rfloor", "2"), ("x=3", "3=x"), ("y=2x+1", "2x+1=y"),
    ("1/6", "0.1\\overline{6}"), ("\\lceil 2.1 \\rceil", "3"), ("\\cos 90^\\circ", "0"),
]
DIFFERENT = [
    ("(0, 12.5)", "0 < x \\le 12.5"), ("x<3", "x>3"), ("3x-y+13=0", "3x+4y+14=0"), ("\\frac{1}{2004!}", "\\frac{1}{2006!}"), ("\\pm 2021", "2021"),
    ("y=2x+1", "y=2x-1"), ("0.\\overline{3}", "0.3"), ("\\sin 30^\\circ", "-0.9880316240928618"), ("\\emptyset", "0"), ("\\emptyset", "\\{1\\}"),
    ("\\lfloor 2.5 \\rfloor", "3"), ("x=3", "x+1=4"), ("\\binom{5}{2}", "20"), ("[2,\\infty)", "x > 2"), ("\\mathbb{R}", "(0,\\infty)"),
]


def theirs(truth, answer):
    return verify(parse(f"${truth}$"), parse(f"\\boxed{{{answer}}}"))


def ours(vgpo, pairs):
    lines = [json.dumps({"response": f"\\boxed{{{answer}}}", "ground_truth": truth}) for truth, answer in pairs]
    done = subprocess.run([vgpo, "reward", "--spec", '{"type": "math"}'], input="\n".join(lines), capture_output=True, text=True, check=True)
    return [json.loads(line)["reward"] == 1 for line in done.stdout.splitlines()]


def check(vgpo, rows):
    """Ours must all be as they should be; where Math-Verify says otherwise is told, not judged."""
    logging.disable(logging.CRITICAL)
    for what, pairs, right in [("equal", EQUAL, True), ("different", DIFFERENT, False)]:
        found, peers = ours(vgpo, pairs), [theirs(*pair) for pair in pairs]
        wrong = [f"`{a}` for `{t}`" for (t, a), verdict in zip(pairs, found, strict=True) if verdict != right]
        other = [f"`{a}` for `{t}`" for (t, a), verdict in zip(pairs, peers, strict=True) if verdict != right]
        told = f"ours: {len(pairs) - len(wrong)} of {len(pairs)}; Math-Verify: {len(pairs) - len(other)}"
        if other:
            told += " (not " + ", ".join(text.replace("|", "\\|") for text in other) + ")"
        rows.append((f"reward `math`, answers that are {what}", told, "all of ours", not wrong))
