//! The sandbox of prompt templates.
//!
//! A template comes with a job, from any user. Fuel counts instructions, which bounds neither memory (thirty lines that
//! double a variable fill any machine) nor time (one instruction may sort a prompt of a megabyte). So a template may
//! only read the prompt, branch, loop and write text; nothing in it can make a value much larger than its inputs; its
//! output and the input of its filters are limited, and longer prompts get fewer instructions. All limits are counted
//! in bytes, not in seconds, so that a row is accepted or rejected on every machine alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{WhitespaceConfig, parse};
use minijinja::value::{Object, Rest};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

/// Maximum number of instructions of a prompt template.
const FUEL: u64 = 1_000_000;
/// Maximum number of bytes that all instructions of a rendering may process.
const WORK: u64 = 500_000_000;
/// Maximum number of bytes that all filters of a rendering may read.
const FILTERED: usize = 64 << 20;
/// Bytes that an entry of a list counts as.
const PER_ENTRY: usize = 32;
/// Maximum size of a template's output and of intermediate strings, in bytes.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// Maximum number of concatenations with `~` or `+` in a template; writing one text after another needs neither.
const MAX_JOINS: usize = 32;
/// Filters whose results are about as large as their inputs, in addition to those of [`add_filters`].
const FILTERS: &[&str] = &[
    "abs",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "e",
    "escape",
    "first",
    "float",
    "int",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "max",
    "min",
    "reverse",
    "round",
    "safe",
    "sort",
    "split",
    "string",
    "title",
    "trim",
    "unique",
    "upper",
];
const OWN_FILTERS: [&str; 2] = ["join", "replace"];

/// Checks that a template only uses permitted syntax.
///
/// # Errors
/// Names the first construct that is not permitted.
#[allow(clippy::default_trait_access, reason = "the type of the syntax has no name that can be reached")]
pub(super) fn check(source: &str) -> Result<(), String> {
    let template = parse(source, "", Default::default(), WhitespaceConfig::default()).map_err(|e| e.to_string())?;
    Walk { joins: 0 }.statement(&template)
}

/// The number of bytes that filters may still read in a rendering.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Object for Budget {}

impl Budget {
    /// Name of the variable with a rendering's budget; templates cannot refer to it because of the space.
    pub(super) const NAME: &'static str = "the budget";

    pub(super) fn full() -> Value {
        Value::from_object(Self(AtomicUsize::new(FILTERED)))
    }

    fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
        let budget = state.lookup(Self::NAME);
        let spent = budget.as_ref().and_then(|budget| budget.downcast_object_ref::<Self>()).is_none_or(|budget| {
            budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_err()
        });
        if spent {
            let detail = format!("its filters read more than {FILTERED} bytes: apply them to less text, or less often");
            return Err(Error::new(ErrorKind::OutOfFuel, detail));
        }
        Ok(())
    }
}

/// Approximate size of a value in bytes.
fn bytes(value: &Value) -> usize {
    value.as_str().map_or_else(|| value.len().unwrap_or(1) * PER_ENTRY, str::len)
}

/// Maximum number of instructions of a rendering of this prompt, because each may process the whole text.
pub(super) fn fuel(prompt: &str) -> u64 {
    (WORK / (prompt.len() as u64 + 1)).min(FUEL)
}

/// Adds filters that respect the budget, and limited versions of those that could multiply text.
pub(super) fn add_filters(environment: &mut Environment<'_>) {
    let mut plain = Environment::new();
    plain.set_undefined_behavior(UndefinedBehavior::Strict);
    let plain = Arc::new(plain);
    for name in FILTERS.iter().copied() {
        let plain = Arc::clone(&plain);
        environment.add_filter(name, move |state: &State<'_, '_>, arguments: Rest<Value>| {
            Budget::charge(state, arguments.iter().map(bytes).sum())?;
            plain.empty_state().apply_filter(name, &arguments)
        });
    }
    environment.add_filter(
        "replace",
        |state: &State<'_, '_>, text: &str, from: &str, to: &str| -> Result<String, Error> {
            Budget::charge(state, text.len())?;
            let grows = text.matches(from).count().saturating_mul(to.len().saturating_sub(from.len()));
            within(text.len().saturating_add(grows))?;
            Ok(text.replace(from, to))
        },
    );
    environment.add_filter(
        "join",
        |state: &State<'_, '_>, values: Value, between: Option<&str>| -> Result<String, Error> {
            Budget::charge(state, bytes(&values))?;
            let mut text = String::new();
            for (index, value) in values.try_iter()?.enumerate() {
                let value = value.to_string();
                let between = if index == 0 { "" } else { between.unwrap_or_default() };
                within(text.len() + between.len() + value.len())?;
                text += between;
                text += &value;
            }
            Ok(text)
        },
    );
}

fn within(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("it makes a string of more than {MAX_BYTES} bytes")))
}

/// A buffer that does not grow beyond the limit.
#[derive(Debug, Default)]
pub(super) struct Limited(pub Vec<u8>);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BYTES {
            return Err(std::io::Error::other(format!("it makes a string of more than {MAX_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Walk {
    joins: usize,
}

type Allowed = Result<(), String>;

fn refused(what: &str) -> Allowed {
    Err(format!(
        "must not contain {what}: it may contain text, `{{{{ prompt }}}}` with filters ({}, {}), `if` and `for`",
        FILTERS.join(", "),
        OWN_FILTERS.join(", ")
    ))
}

impl Walk {
    fn statements(&mut self, all: &[Stmt<'_>]) -> Allowed {
        all.iter().try_for_each(|one| self.statement(one))
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Allowed {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr),
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => Ok(()),
            Stmt::ForLoop(each) if each.recursive => refused("recursive loops"),
            Stmt::ForLoop(each) => {
                self.expression(&each.iter)?;
                self.maybe(each.filter_expr.as_ref())?;
                self.statements(&each.body)?;
                self.statements(&each.else_body)
            }
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr)?;
                self.statements(&condition.true_body)?;
                self.statements(&condition.false_body)
            }
            Stmt::Set(_) | Stmt::SetBlock(_) => refused("`set`"),
            Stmt::WithBlock(_) => refused("`with`"),
            Stmt::Macro(_) | Stmt::CallBlock(_) => refused("macros"),
            Stmt::FilterBlock(_) => refused("blocks of filters"),
            _ => refused("other blocks than `if` and `for`"),
        }
    }

    fn maybe(&mut self, expression: Option<&Expr<'_>>) -> Allowed {
        expression.map_or(Ok(()), |expression| self.expression(expression))
    }

    fn expressions<'a>(&mut self, all: impl IntoIterator<Item = &'a Expr<'a>>) -> Allowed {
        all.into_iter().try_for_each(|one| self.expression(one))
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) -> Allowed {
        arguments.iter().try_for_each(|argument| match argument {
            CallArg::Pos(value) | CallArg::Kwarg(_, value) => self.expression(value),
            CallArg::PosSplat(_) | CallArg::KwargSplat(_) => refused("`*` before arguments"),
        })
    }

    fn expression(&mut self, expression: &Expr<'_>) -> Allowed {
        match expression {
            Expr::Var(_) | Expr::Const(_) => Ok(()),
            Expr::Slice(slice) => {
                self.expression(&slice.expr)?;
                [&slice.start, &slice.stop, &slice.step].into_iter().try_for_each(|part| self.maybe(part.as_ref()))
            }
            Expr::UnaryOp(operation) => self.expression(&operation.expr),
            Expr::BinOp(operation) => {
                match operation.op {
                    BinOpKind::Mul | BinOpKind::Pow => return refused("`*` or `**`"),
                    BinOpKind::Add | BinOpKind::Concat => self.joins += 1,
                    _ => {}
                }
                if self.joins > MAX_JOINS {
                    return Err(format!(
                        "must not concatenate more than {MAX_JOINS} times: write the texts one after the other"
                    ));
                }
                self.expressions([&operation.left, &operation.right])
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr)?;
                self.expressions(compare.ops.iter().map(|operation| &operation.expr))
            }
            Expr::IfExpr(choice) => {
                self.expressions([&choice.test_expr, &choice.true_expr])?;
                self.maybe(choice.false_expr.as_ref())
            }
            Expr::Filter(filter) => {
                if !FILTERS.contains(&filter.name) && !OWN_FILTERS.contains(&filter.name) {
                    return refused(&format!("the filter `{}`", filter.name));
                }
                self.maybe(filter.expr.as_ref())?;
                self.arguments(&filter.args)
            }
            Expr::Test(test) => {
                self.expression(&test.expr)?;
                self.arguments(&test.args)
            }
            Expr::GetAttr(attribute) => self.expression(&attribute.expr),
            Expr::GetItem(item) => self.expressions([&item.expr, &item.subscript_expr]),
            Expr::Call(_) => refused("calls"),
            Expr::List(list) => self.expressions(&list.items),
            Expr::Map(map) => self.expressions(map.keys.iter().chain(&map.values)),
        }
    }
}
