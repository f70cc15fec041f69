//! From a normalised text to an [`Expression`]: a recursive descent over bytes, bounded in depth, without backtracking.

mod literal;

use super::expression::{Expression, Function, Node, Operator};
use super::normalize::DEGREES;
use super::value::Value;

/// Nesting beyond this is not read.
const MAX_DEPTH: usize = 48;
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

/// Reads an expression. None when the text is not one: a word, an unknown command, too deep.
pub(super) fn parse(text: &str) -> Option<Expression> {
    let words_only = text.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ');
    if !text.is_ascii() || (words_only && text.len() > 1 && text != "pi") {
        return None;
    }
    let mut parser = Parser {
        text: text.as_bytes(),
        position: 0,
        depth: 0,
        bars: 0,
        angles: 0,
        variables: Vec::new(),
        decimal: false,
    };
    let root = parser.choice()?;
    parser.spaces();
    if parser.position != parser.text.len() {
        return None;
    }
    parser.variables.sort();
    parser.variables.dedup();
    Some(Expression { root, variables: parser.variables, decimal: parser.decimal })
}

/// Is this a name that an expression may contain, and so no noun?
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == name)
}

struct Parser<'a> {
    text: &'a [u8],
    position: usize,
    depth: usize,
    /// Open bars of absolute values.
    bars: usize,
    /// Functions of an angle that are being read.
    angles: usize,
    variables: Vec<String>,
    decimal: bool,
}

fn binary(operator: Operator, a: Node, b: Node) -> Node {
    Node::Binary(operator, Box::new(a), Box::new(b))
}

fn call(function: Function, argument: Node) -> Node {
    Node::Call(function, Box::new(argument))
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.position += 1;
        }
    }

    fn take(&mut self, expected: &str) -> bool {
        let found = self.text[self.position..].starts_with(expected.as_bytes());
        if found {
            self.position += expected.len();
        }
        found
    }

    /// A sum, or `n \choose k`.
    fn choice(&mut self) -> Option<Node> {
        let first = self.sum()?;
        self.spaces();
        if self.take("\\choose") { Some(binary(Operator::Choose, first, self.sum()?)) } else { Some(first) }
    }

    fn sum(&mut self) -> Option<Node> {
        let mut node = self.product()?;
        loop {
            self.spaces();
            let operator = match self.peek() {
                Some(b'+') => Operator::Add,
                Some(b'-') => Operator::Subtract,
                _ => return Some(node),
            };
            self.position += 1;
            node = binary(operator, node, self.product()?);
        }
    }

    fn product(&mut self) -> Option<Node> {
        let mut node = self.factor()?;
        loop {
            self.spaces();
            let operator = match self.peek() {
                Some(b'*') => Operator::Multiply,
                Some(b'/') => Operator::Divide,
                _ if self.take("\\div") => {
                    node = binary(Operator::Divide, node, self.factor()?);
                    continue;
                }
                Some(c) if self.starts_factor(c) => {
                    node = binary(Operator::Multiply, node, self.factor()?);
                    continue;
                }
                _ => return Some(node),
            };
            self.position += 1;
            node = binary(operator, node, self.factor()?);
        }
    }

    /// May `c` begin a factor that is written without a multiplication sign? Two numbers side by side are no product.
    fn starts_factor(&self, c: u8) -> bool {
        match c {
            b'\\' => !self.rest().starts_with(b"\\choose") && !self.closes_step(),
            b'(' | b'[' | b'{' => true,
            b'|' => self.bars == 0,
            b'0'..=b'9' | b'.' => !self.text[..self.position].trim_ascii_end().last().is_some_and(u8::is_ascii_digit),
            _ => c.is_ascii_alphabetic(),
        }
    }

    fn factor(&mut self) -> Option<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        self.spaces();
        let node = if self.take("-") {
            Node::Negate(Box::new(self.factor()?))
        } else if self.take("+") {
            self.factor()?
        } else {
            self.power()?
        };
        self.depth -= 1;
        Some(node)
    }

    fn power(&mut self) -> Option<Node> {
        let mut base = self.atom()?;
        while self.peek() == Some(b'!') {
            self.position += 1;
            base = call(Function::Factorial, base);
        }
        self.spaces();
        if self.angles > 0 && self.take(DEGREES) {
            base = binary(Operator::Multiply, base, degree());
            self.spaces();
        }
        if self.take("**") || self.take("^") {
            return Some(binary(Operator::Power, base, self.factor()?));
        }
        Some(base)
    }

    fn atom(&mut self) -> Option<Node> {
        self.spaces();
        match self.peek()? {
            b'(' => self.group("(", ")"),
            b'[' => self.group("[", "]"),
            b'{' => self.group("{", "}"),
            b'|' => {
                self.bars += 1;
                let inner = self.group("|", "|")?;
                self.bars -= 1;
                Some(call(Function::Absolute, inner))
            }
            b'0'..=b'9' | b'.' => self.number(),
            b'\\' => self.command(),
            c if c.is_ascii_alphabetic() => self.letters(),
            _ => None,
        }
    }

    fn group(&mut self, open: &str, close: &str) -> Option<Node> {
        if !self.take(open) {
            return None;
        }
        let inner = self.choice()?;
        self.spaces();
        self.take(close).then_some(inner)
    }

    fn digits(&mut self) -> String {
        let start = self.position;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.position += 1;
        }
        String::from_utf8_lossy(&self.text[start..self.position]).into_owned()
    }

    /// The argument of `\frac` or `\sqrt`: a group, one digit, or one atom.
    fn argument(&mut self) -> Option<Node> {
        self.spaces();
        match self.peek()? {
            digit @ b'0'..=b'9' => {
                self.position += 1;
                Some(Node::Number(Value::integer(i128::from(digit - b'0'))))
            }
            _ => self.atom(),
        }
    }

    fn command(&mut self) -> Option<Node> {
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

    /// Does a command that closes something begin here?
    fn closes_step(&self) -> bool {
        self.rest().starts_with(b"\\rfloor") || self.rest().starts_with(b"\\rceil")
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.position..]
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

    /// `sin x`, `\sin^2 x`, `\log_2 8`, `ln(x)`; without parentheses the argument is one product of numbers and letters.
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
    fn letters(&mut self) -> Option<Node> {
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

/// One degree.
fn degree() -> Node {
    Node::Number(Value::approximate(std::f64::consts::PI / 180.0))
}

fn pi() -> Node {
    Node::Number(Value::approximate(std::f64::consts::PI))
}
