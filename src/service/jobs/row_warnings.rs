//! Kinds of rows that a job's settings refuse or that teach nothing, told from the report of its data set before it
//! runs.

use crate::config::job::Origin;
use crate::domain::columns::Role;
use crate::domain::dataset::{DatasetRecord, DatasetReport, PartCount, RowCount};
use crate::domain::field_error::FieldError;
use crate::domain::spec::{JobSpec, Method, Overlong, RowSplit};

use super::warning::JobWarning;

/// What a job may meet in its data set. `context`: tokens that its model can hold.
pub(super) fn row_warnings(spec: &JobSpec, data: &DatasetRecord, context: u64) -> Vec<JobWarning> {
    let Some(report) = report(data) else { return Vec::new() };
    let told = Told { spec, report: &report, name: &data.name, context };
    let warnings = [
        told.thin(),
        told.overlong(),
        told.unreadable(),
        told.images(),
        told.demonstrations(),
        told.long_demonstrations(),
    ];
    warnings.into_iter().flatten().chain(told.answers()).collect()
}

/// Columns that a job names and its data set does not have.
pub(super) fn missing_columns(
    spec: &JobSpec,
    data: &DatasetRecord,
    origin: impl Fn(&str) -> Origin,
) -> Vec<FieldError> {
    let Some(report) = report(data).filter(|report| !report.column_names.is_empty()) else { return Vec::new() };
    let columns = &spec.data.columns;
    let named = Role::ALL.into_iter().filter_map(|role| Some((role, columns.get(role)?)));
    let missing = named.filter(|(role, column)| {
        let head = column.split('.').next().unwrap_or(column);
        let is_there = report.column_names.iter().any(|name| name == column || name == head);
        let pointer = format!("/data/columns/{}", role.name());
        columns.is_chosen(*role) && !is_there && matches!(origin(&pointer), Origin::Request)
    });
    let known: Vec<&str> = report.column_names.iter().take(20).map(String::as_str).collect();
    let fault = |(role, column): (Role, &str)| {
        let detail = format!("no row of `{}` has the column `{column}`; there are: {}", data.name, known.join(", "));
        FieldError::new(format!("/data/columns/{}", role.name()), detail)
    };
    missing.map(fault).collect()
}

fn report(data: &DatasetRecord) -> Option<DatasetReport> {
    serde_json::from_value(data.card.get("report")?.clone()).ok()
}

struct Told<'a> {
    spec: &'a JobSpec,
    report: &'a DatasetReport,
    name: &'a str,
    context: u64,
}

impl Told<'_> {
    fn warning(code: &str, pointer: &str, detail: String) -> JobWarning {
        JobWarning { code: code.to_owned(), pointer: pointer.to_owned(), detail }
    }

    /// What becomes of rows that do not fit.
    fn end(&self) -> &'static str {
        match self.spec.data.overlong {
            Overlong::Drop => "they are dropped",
            Overlong::Error => {
                "the job will fail on the first of them; drop them with `data.overlong`: `drop`, or fix them"
            }
        }
    }

    fn first(count: &RowCount) -> String {
        count.first.as_ref().map_or_else(String::new, |fault| {
            let row = fault.row.map(|row| format!("row {row} of ")).unwrap_or_default();
            format!(" (the first is {row}`{}`: {})", fault.file, fault.problem)
        })
    }

    fn thin(&self) -> Option<JobWarning> {
        let count = &self.report.rows_with_thin_image;
        let detail = format!(
            "{} rows of `{}` have an image with an aspect ratio that models reject{}: {}",
            count.rows,
            self.name,
            Self::first(count),
            self.end()
        );
        (count.rows > 0).then(|| Self::warning("thin_images", "/dataset", detail))
    }

    fn overlong(&self) -> Option<JobWarning> {
        let tokens = self.report.tokens.as_ref()?;
        let (data, rollout) = (&self.spec.data, &self.spec.rollout);
        let limit = data.max_prompt_tokens.min(self.context.saturating_sub(rollout.max_new_tokens));
        let longest = tokens.tokens.max;
        let detail = format!(
            "the longest prompt of `{}` has {longest} tokens (of model `{}`, without the job's system message and \
             template), the limit is {limit} (`data.max_prompt_tokens`, and the model's context less \
             `rollout.max_new_tokens`); of rows over it: {}",
            self.name,
            tokens.model,
            self.end()
        );
        (longest > limit).then(|| Self::warning("overlong_rows", "/data/max_prompt_tokens", detail))
    }

    /// Rows that the model of the check could not read, beyond those with thin images.
    fn unreadable(&self) -> Option<JobWarning> {
        let tokens = self.report.tokens.as_ref()?;
        let count = &tokens.refused;
        let detail = format!(
            "{} rows of `{}` could not be read by model `{}`{}: {}",
            count.rows,
            self.name,
            tokens.model,
            Self::first(count),
            self.end()
        );
        let more = count.rows > self.report.rows_with_thin_image.rows;
        more.then(|| Self::warning("unreadable_rows", "/dataset", detail))
    }

    fn images(&self) -> Option<JobWarning> {
        let by_images = matches!(
            self.spec.method,
            Method::Vgpo(_) | Method::Papo(_) | Method::Vppo(_) | Method::Pgpo(_) | Method::Pepo(_)
        );
        let (without, all, method) = (self.report.rows_without_image, self.report.rows, self.spec.method.name());
        let detail = if without == all {
            let known: Vec<&str> = self.report.column_names.iter().take(20).map(String::as_str).collect();
            format!(
                "no row of `{}` has an image, which method `{method}` needs: map their column with `columns`, or use \
                 `grpo`; there are: {}",
                self.name,
                known.join(", ")
            )
        } else {
            format!("{without} of {all} rows of `{}` have no image, which method `{method}` needs", self.name)
        };
        (by_images && without > 0).then(|| Self::warning("no_images", "/dataset", detail))
    }

    fn demonstrations(&self) -> Option<JobWarning> {
        let missing = self.report.rows.saturating_sub(self.report.demonstrations);
        let learns = matches!(self.spec.method, Method::Sft(_));
        let detail = format!(
            "{missing} of {} rows of `{}` have no demonstration: `sft` will fail on the first training row among them",
            self.report.rows, self.name
        );
        (learns && missing > 0).then(|| Self::warning("rows_without_demonstration", "/dataset", detail))
    }

    fn long_demonstrations(&self) -> Option<JobWarning> {
        let tokens = self.report.tokens.as_ref()?;
        let longest = tokens.with_demonstration?.max;
        let learns = matches!(self.spec.method, Method::Sft(_));
        let detail = format!(
            "the longest prompt of `{}` has {longest} tokens with its demonstration, the model's context is {}; of \
            rows over it: {}",
            self.name,
            self.context,
            self.end()
        );
        (learns && longest > self.context).then(|| Self::warning("overlong_demonstrations", "/dataset", detail))
    }

    fn answers(&self) -> Option<JobWarning> {
        let PartCount { train, eval } = self.report.rows_without_answer;
        let (learnt, measured) = match &self.spec.method {
            Method::Eval(method) if method.split == RowSplit::Train => (0, train),
            Method::Eval(_) | Method::Sft(_) => (0, eval),
            _ => (train, eval),
        };
        let mut parts = Vec::new();
        if learnt > 0 {
            parts
                .push(format!("{learnt} training rows have no ground truth (answer): all responses to them are wrong"));
        }
        if measured > 0 {
            parts.push(format!("{measured} evaluation rows have no ground truth (answer): accuracy on them is 0"));
        }
        let detail = format!("of `{}`, {}", self.name, parts.join("; "));
        (!parts.is_empty()).then(|| Self::warning("rows_without_answer", "/dataset", detail))
    }
}
