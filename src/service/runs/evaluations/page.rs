//! Rows of one evaluation, filtered and sorted, a page at a time.

use super::index::{RowOrder, Verdict, has_verdict};
use crate::domain::eval_row::EvalRow;
use crate::domain::page::Listing;
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// Which rows of an evaluation.
#[derive(Debug, Clone, Default)]
pub struct RowQuery {
    /// The newest evaluation at this step or before; none: the newest one.
    pub step: Option<u64>,
    /// Only rows with this verdict.
    pub verdict: Option<Verdict>,
    /// Only rows with this tag.
    pub tag: Option<String>,
    /// The order.
    pub order: RowOrder,
    /// Largest first.
    pub descending: bool,
    /// Rows per page.
    pub limit: u32,
    /// The row to continue after: the `next` of the page before.
    pub after: Option<u64>,
}

impl Runs {
    /// A page of the rows of an evaluation.
    pub async fn eval_rows(&self, run_id: &str, query: RowQuery) -> Result<Listing<EvalRow>> {
        let evaluation = self.evaluation(run_id, query.step).await?;
        let index = evaluation.index;
        let after = query.after.map(|row| index.find(row).ok_or_else(|| wrong_cursor(row))).transpose()?;
        // A tag that no row has lets no row through.
        let tag = query.tag.as_deref().map(|tag| index.tag(tag));
        let order = (query.order, query.descending);
        self.previews
            .run(move |_| {
                let places = index.after(order, after, query.limit as usize + 1, |facts| {
                    has_verdict(facts, query.verdict)
                        && tag.is_none_or(|tag| tag.is_some_and(|tag| facts.tags.contains(&tag)))
                });
                let rows = index.load(&places)?;
                Ok(Listing::from_overfull(rows, query.limit, |row| row.row.to_string()))
            })
            .await
    }
}

/// `after` is not the number of a row of the evaluation.
pub(super) fn wrong_cursor(row: u64) -> ServiceError {
    let detail =
        format!("`after` is {row}, which is not a row of this evaluation; it must be the `next` of the page before");
    ServiceError::field("?after", detail)
}
