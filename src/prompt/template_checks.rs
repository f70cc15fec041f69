//! Rebuilds the syntax of a chat template with checks around operands and results.
//!
//! Templates are untrusted and run as they are, so no construct is forbidden. Instead
//! filters of [`super::template_budget`] charge for each operand and result. What only passes a value on
//! (variables, attributes, items, conditions) costs nothing.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt, UnaryOpKind};
use minijinja::machinery::{Span, Token, WhitespaceConfig, parse, tokenize};
use minijinja::{Error, ErrorKind, Value};

use super::template_budget::{KEPT, MADE, READ};

/// Bytes of a template; the longest of known models has about 30,000.
const LONGEST: usize = 1 << 20;
/// Words and signs within one tag: what is joined to a chain of them is worked off by a function that calls itself.
const MOST_IN_TAG: usize = 1_000;
/// `elif` in the whole template, for the same reason.
const MOST_ELIFS: usize = 200;

/// How templates of models are read.
const WHITESPACE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };

/// Filters that look at no more than the outside of a value, or hand on what they were given.
const CHEAP_FILTERS: &[&str] =
    &["abs", "bool", "count", "d", "default", "first", "float", "int", "last", "length", "round", "safe"];
/// Tests that compare values, and so read them.
const COSTLY_TESTS: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "containing",
    "endingwith",
    "eq",
    "equalto",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "le",
    "lessthan",
    "lower",
    "lt",
    "ne",
    "startingwith",
    "upper",
];

fn fault(problem: String) -> Error {
    Error::new(ErrorKind::SyntaxError, problem)
}

/// Is a template of a size that can be worked with? To be asked before [`checked`].
#[allow(clippy::default_trait_access, reason = "the type of the syntax has no name that can be reached")]
pub(super) fn measure(source: &str) -> Result<(), Error> {
    if source.len() > LONGEST {
        return Err(fault(format!("it has {} bytes, more than {LONGEST}", source.len())));
    }
    let (mut in_tag, mut elifs) = (0, 0);
    for token in tokenize(source, false, Default::default(), WHITESPACE) {
        match token?.0 {
            Token::VariableStart | Token::BlockStart | Token::TemplateData(_) => in_tag = 0,
            Token::Ident("elif") => elifs += 1,
            _ => in_tag += 1,
        }
        if in_tag > MOST_IN_TAG || elifs > MOST_ELIFS {
            let detail = format!("it has more than {MOST_IN_TAG} words in one tag, or more than {MOST_ELIFS} `elif`");
            return Err(fault(detail));
        }
    }
    Ok(())
}

/// The template's syntax with checks; `name` is what errors call it.
#[allow(clippy::default_trait_access, reason = "the type of the syntax has no name that can be reached")]
pub(super) fn checked<'a>(name: &'a str, source: &'a str) -> Result<Stmt<'a>, Error> {
    statement(&parse(source, name, Default::default(), WHITESPACE)?)
}

fn anew<T>(node: T, span: Span) -> Spanned<T> {
    Spanned::new(node, span)
}

fn pass<'a>(through: &'static str, value: Expr<'a>) -> Expr<'a> {
    let span = value.span();
    Expr::Filter(anew(ast::Filter { name: through, expr: Some(value), args: Vec::new() }, span))
}

fn statements<'a>(all: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
    all.iter().map(statement).collect()
}

fn statement<'a>(one: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Ok(match one {
        Stmt::Template(s) => Stmt::Template(anew(ast::Template { children: statements(&s.children)? }, s.span())),
        // What is called to write is charged where it is written; `super()`, `loop()` and blocks are known by their
        // place.
        Stmt::EmitExpr(s) => Stmt::EmitExpr(anew(ast::EmitExpr { expr: bare(&s.expr) }, s.span())),
        Stmt::EmitRaw(s) => {
            let text = Expr::Const(anew(ast::Const { value: Value::from(s.raw) }, s.span()));
            Stmt::EmitExpr(anew(ast::EmitExpr { expr: text }, s.span()))
        }
        Stmt::ForLoop(s) => Stmt::ForLoop(anew(
            ast::ForLoop {
                target: target(&s.target),
                iter: expression(&s.iter),
                filter_expr: s.filter_expr.as_ref().map(expression),
                recursive: s.recursive,
                body: statements(&s.body)?,
                else_body: statements(&s.else_body)?,
            },
            s.span(),
        )),
        Stmt::IfCond(s) => Stmt::IfCond(anew(
            ast::IfCond {
                expr: expression(&s.expr),
                true_body: statements(&s.true_body)?,
                false_body: statements(&s.false_body)?,
            },
            s.span(),
        )),
        Stmt::WithBlock(s) => {
            let assignments = s.assignments.iter().map(|(to, value)| (target(to), expression(value))).collect();
            Stmt::WithBlock(anew(ast::WithBlock { assignments, body: statements(&s.body)? }, s.span()))
        }
        Stmt::Set(s) => {
            let value = expression(&s.expr);
            let value = if matches!(s.target, Expr::GetAttr(_)) { pass(KEPT, value) } else { value };
            Stmt::Set(anew(ast::Set { target: target(&s.target), expr: value }, s.span()))
        }
        Stmt::SetBlock(s) => Stmt::SetBlock(anew(
            ast::SetBlock {
                target: target(&s.target),
                filter: s.filter.as_ref().map(expression),
                body: statements(&s.body)?,
            },
            s.span(),
        )),
        Stmt::AutoEscape(s) => Stmt::AutoEscape(anew(
            ast::AutoEscape { enabled: expression(&s.enabled), body: statements(&s.body)? },
            s.span(),
        )),
        Stmt::FilterBlock(s) => Stmt::FilterBlock(anew(
            ast::FilterBlock { filter: expression(&s.filter), body: statements(&s.body)? },
            s.span(),
        )),
        Stmt::Block(s) => {
            Stmt::Block(anew(ast::Block { name: s.name, required: s.required, body: statements(&s.body)? }, s.span()))
        }
        Stmt::Macro(s) => Stmt::Macro(macro_of(s)?),
        Stmt::CallBlock(s) => Stmt::CallBlock(anew(
            ast::CallBlock { call: call(&s.call), macro_decl: macro_of(&s.macro_decl)? },
            s.span(),
        )),
        Stmt::Do(s) => Stmt::Do(anew(ast::Do { call: call(&s.call) }, s.span())),
        Stmt::Continue(s) => Stmt::Continue(anew(ast::Continue, s.span())),
        Stmt::Break(s) => Stmt::Break(anew(ast::Break, s.span())),
        Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => {
            return Err(fault("it includes another template, and a model has only one".to_owned()));
        }
    })
}

fn macro_of<'a>(of: &Spanned<ast::Macro<'a>>) -> Result<Spanned<ast::Macro<'a>>, Error> {
    let node = ast::Macro {
        name: of.name,
        args: of.args.iter().map(target).collect(),
        defaults: of.defaults.iter().map(expression).collect(),
        body: statements(&of.body)?,
    };
    Ok(anew(node, of.span()))
}

/// What is assigned to, and what macros call their arguments.
fn target<'a>(of: &Expr<'a>) -> Expr<'a> {
    bare(of)
}

/// An operand: read by what it stands in.
fn operand<'a>(of: &Expr<'a>) -> Expr<'a> {
    pass(READ, expression(of))
}

fn expressions<'a>(all: &[Expr<'a>]) -> Vec<Expr<'a>> {
    all.iter().map(expression).collect()
}

/// An expression whose result is charged, if it makes one.
fn expression<'a>(of: &Expr<'a>) -> Expr<'a> {
    let makes = match of {
        Expr::BinOp(s) => joins(s.op),
        Expr::Filter(s) => !CHEAP_FILTERS.contains(&s.name),
        Expr::Call(_) | Expr::Slice(_) => true,
        _ => false,
    };
    if makes { pass(MADE, bare(of)) } else { bare(of) }
}

/// Operators that may make a larger value than each of their operands.
fn joins(operator: BinOpKind) -> bool {
    matches!(operator, BinOpKind::Add | BinOpKind::Mul | BinOpKind::Pow | BinOpKind::Concat)
}

fn is_logic(operator: BinOpKind) -> bool {
    matches!(operator, BinOpKind::ScAnd | BinOpKind::ScOr)
}

/// An expression with checks inside.
fn bare<'a>(of: &Expr<'a>) -> Expr<'a> {
    match of {
        Expr::Var(s) => Expr::Var(anew(ast::Var { id: s.id }, s.span())),
        Expr::Const(s) => Expr::Const(anew(ast::Const { value: s.value.clone() }, s.span())),
        Expr::Slice(s) => {
            let part = |part: &Option<Expr<'a>>| part.as_ref().map(expression);
            let (start, stop, step) = (part(&s.start), part(&s.stop), part(&s.step));
            Expr::Slice(anew(ast::Slice { expr: operand(&s.expr), start, stop, step }, s.span()))
        }
        Expr::UnaryOp(s) => {
            let op = if matches!(s.op, UnaryOpKind::Not) { UnaryOpKind::Not } else { UnaryOpKind::Neg };
            Expr::UnaryOp(anew(ast::UnaryOp { op, expr: expression(&s.expr) }, s.span()))
        }
        Expr::BinOp(s) => {
            let side: fn(&Expr<'a>) -> Expr<'a> = if is_logic(s.op) { expression } else { operand };
            Expr::BinOp(anew(ast::BinOp { op: s.op, left: side(&s.left), right: side(&s.right) }, s.span()))
        }
        Expr::Compare(s) => {
            let ops = s.ops.iter().map(|one| ast::CompareOp { op: one.op, expr: operand(&one.expr) }).collect();
            Expr::Compare(anew(ast::Compare { expr: operand(&s.expr), ops }, s.span()))
        }
        Expr::IfExpr(s) => Expr::IfExpr(anew(
            ast::IfExpr {
                test_expr: expression(&s.test_expr),
                true_expr: expression(&s.true_expr),
                false_expr: s.false_expr.as_ref().map(expression),
            },
            s.span(),
        )),
        Expr::Filter(s) => {
            let cheap = CHEAP_FILTERS.contains(&s.name);
            let side: fn(&Expr<'a>) -> Expr<'a> = if cheap { expression } else { operand };
            let value = s.expr.as_ref().map(side);
            Expr::Filter(anew(ast::Filter { name: s.name, expr: value, args: arguments(&s.args, READ) }, s.span()))
        }
        Expr::Test(s) => {
            let side: fn(&Expr<'a>) -> Expr<'a> = if COSTLY_TESTS.contains(&s.name) { operand } else { expression };
            let node = ast::Test { name: s.name, expr: side(&s.expr), args: arguments(&s.args, READ) };
            Expr::Test(anew(node, s.span()))
        }
        Expr::GetAttr(s) => Expr::GetAttr(anew(ast::GetAttr { expr: expression(&s.expr), name: s.name }, s.span())),
        Expr::GetItem(s) => Expr::GetItem(anew(
            ast::GetItem { expr: expression(&s.expr), subscript_expr: expression(&s.subscript_expr) },
            s.span(),
        )),
        Expr::Call(s) => Expr::Call(call(s)),
        Expr::List(s) => Expr::List(anew(ast::List { items: parts(&s.items) }, s.span())),
        Expr::Map(s) => Expr::Map(anew(ast::Map { keys: expressions(&s.keys), values: parts(&s.values) }, s.span())),
    }
}

/// What becomes part of a list or a mapping; constants stay what they are.
fn parts<'a>(all: &[Expr<'a>]) -> Vec<Expr<'a>> {
    let part = |one: &Expr<'a>| if matches!(one, Expr::Const(_)) { bare(one) } else { pass(KEPT, expression(one)) };
    all.iter().map(part).collect()
}

fn call<'a>(of: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
    anew(ast::Call { expr: expression(&of.expr), args: arguments(&of.args, KEPT) }, of.span())
}

/// Arguments; those with a name may be kept by what they are given to.
fn arguments<'a>(all: &[CallArg<'a>], named: &'static str) -> Vec<CallArg<'a>> {
    let argument = |one: &CallArg<'a>| match one {
        CallArg::Pos(value) => CallArg::Pos(operand(value)),
        CallArg::Kwarg(name, value) => CallArg::Kwarg(name, pass(named, expression(value))),
        CallArg::PosSplat(value) => CallArg::PosSplat(operand(value)),
        CallArg::KwargSplat(value) => CallArg::KwargSplat(pass(named, expression(value))),
    };
    all.iter().map(argument).collect()
}
