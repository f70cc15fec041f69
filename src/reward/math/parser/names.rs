//! Names in an expression: commands, functions, constants and variables.

use super::super::expression::{Function, Node, Operator};
use super::super::symbols::DEGREES;
use super::super::value::Value;
use super::{Parser, binary, call, degree};

/// Runs of letters up to this length are products of variables; longer ones are words.
const MAX_PRODUCT: usize = 3;

/// Functions by name, with or without a backslash.
const FUNCTIONS: [(&str, Function); 20] = [
    ("sqrt", Function::SquareRoot),
    ("abs", Function::Absolute),
    ("exp", Function::Exp),
    ("ln", Function::Ln),
    ("log", Function::Log10),
    ("lg", Function::Log10),
    ("sin", Function::Sin),
    ("cos", Function::Cos),
    ("tan", Function::Tan),
    ("cot", Function::Cot),
    ("sec", Function::Sec),
    ("csc", Function::Csc),
    ("arcsin", Function::Arcsin),
    ("arccos", Function::Arccos),
    ("arctan", Function::Arctan),
    ("asin", Function::Arcsin),
    ("acos", Function::Arccos),
    ("atan", Function::Arctan),
    ("tg", Function::Tan),
    ("ctg", Function::Cot),
];

/// Functions of an angle, which may be given in degrees.
const ANGULAR: [Function; 6] =
    [Function::Sin, Function::Cos, Function::Tan, Function::Cot, Function::Sec, Function::Csc];

/// Greek letters that serve as variables.
const GREEK: [&str; 24] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Delta",
    "Omega",
];

/// Is this a name that an expression may contain, and so no noun?
pub(in crate::reward::math) fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == name)
}

impl Parser<'_> {
    pub(super) fn command(&mut self) -> Option<Node> {
        self.position += 1;
        let name = self.word();
        match name.as_str() {
            "frac" => Some(binary(Operator::Divide, self.argument()?, self.argument()?)),
            "binom" => Some(binary(Operator::Choose, self.argument()?, self.argument()?)),
            "lfloor" => self.step(Function::Floor, "\\rfloor"),
            "lceil" => self.step(Function::Ceiling, "\\rceil"),
            "sqrt" => self.root(),
            "pi" => Some(pi()),
            _ if is_function(&name) => self.function(&name),
            _ if GREEK.contains(&name.as_str()) => self.variable(&name),
            _ => None,
        }
    }

    /// What is rounded, and its closing command.
    fn step(&mut self, function: Function, close: &str) -> Option<Node> {
        let inner = self.sum()?;
        self.spaces();
        self.take(close).then(|| call(function, inner))
    }

    fn word(&mut self) -> String {
        let start = self.position;
        while self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            self.position += 1;
        }
        String::from_utf8_lossy(&self.text[start..self.position]).into_owned()
    }

    fn root(&mut self) -> Option<Node> {
        let index = if self.peek() == Some(b'[') { Some(self.group("[", "]")?) } else { None };
        let argument = self.argument()?;
        Some(match index {
            None => call(Function::SquareRoot, argument),
            Some(Node::Number(three)) if three == Value::integer(3) => call(Function::CubeRoot, argument),
            Some(index) => {
                let one = Node::Number(Value::integer(1));
                binary(Operator::Power, argument, binary(Operator::Divide, one, index))
            }
        })
    }

    /// `sin x`, `\sin^2 x`, `\log_2 8`, `ln(x)`; without parentheses the argument is one product of numbers and
    /// letters.
    fn function(&mut self, name: &str) -> Option<Node> {
        let (_, function) = *FUNCTIONS.iter().find(|(known, _)| *known == name)?;
        let base = if self.take("_") { Some(self.argument()?) } else { None };
        let power = if self.take("^") { Some(self.argument()?) } else { None };
        self.spaces();
        // `sin(x)^2` squares the sine, `sin x^2` the x.
        let grouped = matches!(self.peek(), Some(b'(' | b'{' | b'['));
        let angle = usize::from(ANGULAR.contains(&function));
        self.angles += angle;
        let mut argument = if grouped { self.atom()? } else { self.power()? };
        while !grouped && self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            argument = binary(Operator::Multiply, argument, self.power()?);
        }
        self.spaces();
        if self.angles > 0 && self.take(DEGREES) {
            argument = binary(Operator::Multiply, argument, degree());
        }
        self.angles -= angle;
        let node = match base {
            None => call(function, argument),
            Some(base) => binary(Operator::Divide, call(Function::Ln, argument), call(Function::Ln, base)),
        };
        Some(match power {
            None => node,
            Some(power) => binary(Operator::Power, node, power),
        })
    }

    /// A function, a constant, or a product of one-letter variables.
    pub(super) fn letters(&mut self) -> Option<Node> {
        let start = self.position;
        let word = self.word();
        let lower = word.to_lowercase();
        if is_function(&lower) {
            return self.function(&lower);
        }
        if lower == "pi" {
            return Some(pi());
        }
        if word.len() > MAX_PRODUCT {
            return None;
        }
        // One letter at a time, so that `xy^2` squares y alone.
        self.position = start + 1;
        let letter = char::from(self.text[start]);
        if letter == 'e' {
            return Some(Node::Number(Value::approximate(std::f64::consts::E)));
        }
        self.variable(&letter.to_ascii_lowercase().to_string())
    }

    /// A variable and its subscript.
    fn variable(&mut self, name: &str) -> Option<Node> {
        let mut name = name.to_owned();
        if self.take("_") {
            name.push('_');
            if self.take("{") {
                while let Some(c) = self.peek().filter(|c| *c != b'}') {
                    name.push(char::from(c));
                    self.position += 1;
                }
                if !self.take("}") {
                    return None;
                }
            } else {
                name.push(char::from(self.peek()?));
                self.position += 1;
            }
        }
        self.variables.push(name.clone());
        Some(Node::Variable(name))
    }
}

fn pi() -> Node {
    Node::Number(Value::approximate(std::f64::consts::PI))
}
