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
