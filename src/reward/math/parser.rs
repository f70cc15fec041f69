//! From a normalised text to an [`Expression`]: a recursive descent over bytes, bounded in depth, without backtracking.

mod literal;
mod names;

use super::expression::{Expression, Function, Node, Operator};
use super::symbols::DEGREES;
use super::value::Value;

pub(super) use names::is_function;

/// Nesting beyond this is not read.
const MAX_DEPTH: usize = 48;

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
        let is_next = self.text[self.position..].starts_with(expected.as_bytes());
        if is_next {
            self.position += expected.len();
        }
        is_next
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

    /// May `c` begin a factor that is written without a multiplication sign? Two adjacent numbers are not a product.
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

    /// Does a command that closes something begin here?
    fn closes_step(&self) -> bool {
        self.rest().starts_with(b"\\rfloor") || self.rest().starts_with(b"\\rceil")
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.position..]
    }
}

/// One degree.
fn degree() -> Node {
    Node::Number(Value::approximate(std::f64::consts::PI / 180.0))
}
