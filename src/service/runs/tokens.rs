//! The samples of a run token by token, as a table that is written while it is read.

use futures_util::{Stream, stream};

use crate::domain::page::Page;
use crate::domain::sample::SampleRecord;
use crate::domain::token_rows::{TOKEN_COLUMNS, token_rows};
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// Samples in memory at a time: each holds the images of its prompt and every token of its group.
const PAGE: u32 = 8;

impl Runs {
    /// The tokens of a run's samples as CSV, piece by piece; of one step if given.
    pub async fn samples_csv(
        &self,
        run_id: &str,
        step: Option<u64>,
    ) -> Result<impl Stream<Item = Result<Vec<u8>>> + Send + use<>> {
        self.store.run(run_id).await?;
        let (runs, run_id) = (self.clone(), run_id.to_owned());
        Ok(stream::try_unfold(Some(Page::first(PAGE)), move |page| {
            let (runs, run_id) = (runs.clone(), run_id.clone());
            async move {
                let Some(page) = page else { return Ok(None) };
                let samples = runs.store.samples(&run_id, step, &page).await?;
                let next = samples.next.map(|after| Page { limit: PAGE, after: Some(after) });
                Ok(Some((table(&samples.data, page.after.is_none())?, next)))
            }
        }))
    }
}

fn table(samples: &[SampleRecord], head: bool) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let fault = |error: csv::Error| ServiceError::Internal(error.to_string());
    if head {
        table.write_record(TOKEN_COLUMNS.map(|(name, _)| name)).map_err(fault)?;
    }
    for row in samples.iter().flat_map(token_rows) {
        table.write_record(row.map(|cell| cell.to_string())).map_err(fault)?;
    }
    table.into_inner().map_err(|error| ServiceError::Internal(error.to_string()))
}
