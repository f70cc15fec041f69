//! The grader on its own: what is equal and what is not.

use vgpo::reward::math::equivalent;

fn check(table: &[(&str, &[&str], &[&str])]) {
    let mut faults = Vec::new();
    for (truth, same, different) in table {
        faults.extend(same.iter().filter(|a| !equivalent(truth, a)).map(|a| format!("`{a}` should equal `{truth}`")));
        faults.extend(
            different.iter().filter(|a| equivalent(truth, a)).map(|a| format!("`{a}` should differ from `{truth}`")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn numbers() {
    check(&[
        (
            "42",
            &["42.", "+42", "042", "42.0", "{42}", "\\text{42}", "42 ", "84/2", "6 \\times 7", "$42$"],
            &["-42", "4 2", "420", "42x", "", "forty-two"],
        ),
        ("1234567890123", &["1,234,567,890,123", "1 234 567 890 123"], &["1234567890124", "1.23456789e12"]),
        ("-0.5", &["-1/2", "−.5", "-\\frac12", "- 50\\%"], &["0.5", "-0.49"]),
        (
            "1,000",
            &["1000", "1{,}000", "1\\,000", "1\\!,\\!000", "10^3", "1e3", "1 thousand"],
            &["1", "1,00", "10,00", "(1,000,0)"],
        ),
        ("0.333", &["333/1000"], &["1/3", "0.3333"]),
        ("120", &["5!"], &["5"]),
        (
            "\\frac{7}{3}",
            &["2\\frac{1}{3}", "2 1/3", "\\frac{14}{6}", "7/3"],
            &["2.33", "21/3", "2 \\cdot \\frac{1}{3}"],
        ),
    ]);
}

#[test]
fn percent_money_and_units() {
    check(&[
        ("50\\%", &["50%", "0.5", "1/2", "50", "50 percent"], &["0.5%", "5", "0.05"]),
        ("18", &["\\$18", "$18.00", "18 dollars", "€18"], &["$18.50"]),
        (
            "10 cm",
            &["10", "10cm", "10 \\text{ cm}", "10 centimeters", "10.0 \\mathrm{cm}"],
            &["10 m", "10 cm^2", "1 cm"],
        ),
        ("25 m^2", &["25 square meters", "25 \\text{ m}^2", "25 m²", "25 sq m", "25"], &["25 m", "25 m^3"]),
        ("60 km/h", &["60 \\text{ km/h}", "60 kilometers per hour", "60"], &["60 km", "60 m/s"]),
        ("30^\\circ", &["30°", "30", "30 degrees", "30^{\\circ}", "30 \\degree"], &["31", "30 radians"]),
        ("5", &["5 apples", "5\\text{ apples}", "5 units"], &["5 million"]),
        ("3m", &["3 \\cdot m", "m*3"], &["3"]),
        ("2500000", &["2.5 million", "2.5\\times10^6"], &["2.5"]),
    ]);
}

#[test]
fn expressions() {
    check(&[
        (
            "2\\sqrt{3}",
            &["\\sqrt{12}", "2√3", "√12", "2*sqrt(3)", "12^{1/2}", "\\frac{6}{\\sqrt{3}}"],
            &["3.46", "2\\sqrt{2}", "\\sqrt{2}3"],
        ),
        ("\\frac{\\pi}{2}", &["π/2", "0.5\\pi", "\\pi/2", "pi/2"], &["1.57", "\\pi", "2\\pi"]),
        ("x^2+2x+1", &["(x+1)^2", "(1 + x)(x + 1)", "x²+2x+1", "x*x+2*x+1"], &["x^2+2x", "(y+1)^2", "x^2+2x+1.01"]),
        ("|x|", &["\\sqrt{x^2}"], &["x", "-x"]),
        ("\\sin^2 x", &["1-\\cos^2 x", "\\sin(x)^2", "(\\sin x)^2"], &["\\sin x", "\\sin x^2"]),
        ("\\log_2 8", &["3", "\\frac{\\ln 8}{\\ln 2}"], &["2"]),
        ("x_1+x_2", &["x_{2}+x_{1}"], &["x_1+x_1", "x+x"]),
        ("\\sqrt[3]{8}", &["2"], &["\\sqrt{8}"]),
        ("2^{-3}", &["1/8", "0.125"], &["8", "-8"]),
        ("a/b", &["\\frac{a}{b}"], &["b/a", "ab"]),
    ]);
}

#[test]
fn structures() {
    check(&[
        ("(1,2)", &["(1, 2)", "\\left(1.0, \\frac{4}{2}\\right)"], &["(2,1)", "[1,2]", "1,2", "(1,2,3)", "12"]),
        ("[0,1)", &["[0, 1)", "\\left[0,1\\right)", "x \\in [0,1)"], &["(0,1)", "[0,1]", "[0,2)"]),
        (
            "(-\\infty,2)\\cup(3,\\infty)",
            &["(3,∞) ∪ (−∞,2)", "(-inf,2) \\cup (3,+\\infty)"],
            &["(-\\infty,2)", "(-\\infty,2]\\cup(3,\\infty)"],
        ),
        ("\\{1,2,3\\}", &["1,2,3", "\\{3,1,2\\}", "{3,2,1}", "1, 2, and 3"], &["\\{1,2\\}", "\\{1,2,2\\}", "(1,2,3)"]),
        ("1, 2", &["1,2", "x=1, x=2"], &["2,1", "1", "12"]),
        ("x=1 or x=2", &["2 \\text{ or } 1", "1 or 2"], &["1", "1 or 3"]),
        ("\\pm 3", &["3 or -3", "-3, 3", "±3"], &["3", "-3"]),
        ("3:4", &["3 : 4"], &["4:3", "3/4", "3"]),
        (
            "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
            &["\\begin{bmatrix} 1 & 2 \\\\ 3 & 8/2 \\end{bmatrix}"],
            &["\\begin{pmatrix}1&2\\\\4&3\\end{pmatrix}", "1,2,3,4"],
        ),
        ("100, 200", &["100,200"], &["200,100"]),
    ]);
}

#[test]
fn equations_and_inequalities() {
    check(&[
        (
            "3",
            &["x=3", "x = 3.", "f(2) = 3", "\\angle ABC = 3^\\circ", "AB=3", "1+2=3", "= 3", "x_1 = 3"],
            &["x=4", "x+1=3", "x=3 or x=4", "x>3", "3=4"],
        ),
        ("x=3", &["3", "x = 6/2", "3 = 3"], &["x=4", "x"]),
        ("y=2x+1", &["2x+1", "y = 1 + 2x"], &["y=2x"]),
        ("x<2", &["x < 2", "2 > x", "x \\lt 2"], &["x \\leq 2", "x>2", "2<x", "x<3"]),
        ("1\\le x<3", &["1 ≤ x < 3", "3 > x \\geq 1"], &["1<x<3"]),
    ]);
}

#[test]
fn options_and_text() {
    check(&[
        (
            "A",
            &[
                "A",
                "a",
                "(A)",
                "A.",
                "A) 5",
                "(A) five",
                "Option A",
                "\\textbf{A}",
                "\\text{(A)}",
                "A: yes",
                "answer: A",
            ],
            &["B", "(B) A", "Option B", "AB", "A square", ""],
        ),
        ("(c)", &["C", "c.", "(C)"], &["D"]),
        ("Yes", &["yes", "YES.", "\\text{Yes}"], &["No", "sey", "Yes, because", "y e"]),
        ("red square", &["Red Square", "redsquare"], &["square red", "red"]),
        ("diameter", &["Diameter"], &["dia"]),
        ("Monday", &["monday"], &["Mon", "Sunday"]),
        ("\\boxed{7}", &["7"], &["8"]),
        ("None", &["none"], &["null"]),
    ]);
}

#[test]
fn nothing_equals_nothing_only() {
    assert!(equivalent("", ""));
    assert!(!equivalent("", "7") && !equivalent("7", "") && !equivalent("7", "."));
    assert!(!equivalent("\\", "$"));
}

#[test]
fn intervals_and_inequalities() {
    check(&[
        (
            "(0, 12.5)",
            &["0 < x < 12.5", "12.5 > x > 0", "x \\in (0, 12.5)", "0<t<25/2"],
            &["0 < x \\le 12.5", "0 \\le x < 12.5", "0 < x", "x < 12.5", "0 < x < y", "0 < 2x < 12.5"],
        ),
        ("x<3", &["(-\\infty, 3)", "x \\in (-\\infty,3)"], &["(-\\infty, 3]", "(3, \\infty)", "x>3"]),
        ("[2,\\infty)", &["x \\ge 2", "2 \\le x"], &["x > 2", "x \\le 2"]),
        ("x<2 \\text{ or } x>3", &["(3,\\infty)\\cup(-\\infty,2)"], &["(-\\infty,2)", "(-\\infty,2]\\cup(3,\\infty)"]),
        (
            "\\mathbb{R}",
            &["(-\\infty,\\infty)", "\\text{all real numbers}", "ℝ", "x \\in \\mathbb R"],
            &["R", "(0,\\infty)", "[-\\infty,\\infty]"],
        ),
        ("\\emptyset", &["\\varnothing", "∅", "\\{\\}"], &["0", "\\{0\\}", "\\{1\\}", "\\phi"]),
    ]);
}

#[test]
fn equations_in_another_arrangement() {
    check(&[
        (
            "2x+4y-3=0",
            &["y = -\\frac{1}{2}x+\\frac{3}{4}", "4x+8y=6", "0=3-2x-4y"],
            &["2x+4y+3=0", "2x+4y-3", "2x+4y=0", "y=0"],
        ),
        ("y=2x+1", &["2x-y+1=0", "2x+1=y", "2y=4x+2", "y-1=2x"], &["y=2x-1", "x=2y+1", "y+2x+1=0"]),
        ("(x-1)^2+y^2=4", &["x^2-2x+y^2=3"], &["(x+1)^2+y^2=4", "(x-1)^2+y^2=2"]),
        ("x=3", &["3=x", "x=6/2"], &["x+1=4", "2x=6", "x=x", "3=4"]),
        ("3", &["3=x"], &["2x=6"]),
        ("x=x", &["x=x"], &["y=y+1"]),
    ]);
}

#[test]
fn repeating_decimals_binomials_and_steps() {
    check(&[
        (
            "\\frac{1}{3}",
            &["0.\\overline{3}", "0.\\bar{3}", "0.(3)", "0.3\\overline{3}", "0.\\overline{33}"],
            &["0.3", "0.33", "0.\\overline{34}"],
        ),
        ("0.1\\overline{6}", &["1/6"], &["0.16", "1/7"]),
        ("0.\\overline{142857}", &["1/7"], &[]),
        ("1", &["0.\\overline{9}"], &["0.99"]),
        (
            "\\binom{5}{2}",
            &["10", "\\dbinom{5}{2}", "{5 \\choose 2}", "\\binom{5}{3}", "5 \\choose 2"],
            &["5/2", "20", "52", "\\binom{2}{5}"],
        ),
        ("\\binom{n}{2}", &["\\frac{n(n-1)}{2}"], &["n(n-1)", "\\frac{n(n+1)}{2}"]),
        ("2\\binom{4}{2}", &["12"], &["48"]),
        ("\\lfloor 2.5 \\rfloor", &["2", "⌊2.9⌋"], &["3", "2.5"]),
        ("\\lceil -2.5 \\rceil", &["-2"], &["-3"]),
        ("2 + \\lfloor \\sqrt{10} \\rfloor", &["5"], &["6"]),
        ("２", &["2", "２．０"], &["3"]),
        ("（１，２）", &["(1,2)"], &["(2,1)"]),
    ]);
}

#[test]
fn degrees_inside_functions() {
    check(&[
        (
            "\\sin 30^\\circ",
            &["0.5", "\\frac12", "\\cos 60^{\\circ}", "\\sin(30°)", "\\sin \\frac{\\pi}{6}"],
            &["-0.9880316240928618", "30"],
        ),
        ("2\\sin 60^\\circ", &["\\sqrt{3}"], &["1"]),
        ("\\tan 45^\\circ + 1", &["2"], &["1"]),
        ("\\cos 90^\\circ", &["0"], &["1"]),
        ("\\sin^2 30^\\circ", &["1/4"], &["1/2"]),
        ("0", &["\\sin \\pi", "\\tan 180^\\circ"], &["10^{-20}"]),
        ("30^\\circ", &["30", "30 degrees"], &["\\sin 30^\\circ"]),
    ]);
}
