//! The reward `image_text` of a request: which folder its checkpoint is in; and whether there are images, for it and
//! for audits.

use crate::domain::dataset::DatasetRecord;
use crate::domain::spec::{JobSpec, Method, RewardSpec};
use crate::reward::{Reward, build_with};
use crate::service::datasets::DatasetEntry;
use crate::service::jobs::Jobs;
use crate::service::jobs::preview::Preview;
use crate::service::jobs::warning::JobWarning;
use crate::service::{Result, ServiceError};

impl Jobs {
    /// Builds a reward after putting the real folder in place of each checkpoint's path: a folder below `model_roots`,
    /// links followed, is the only one that a request may name.
    pub(super) async fn open_reward(&self, spec: &mut RewardSpec) -> Result<Box<dyn Reward>> {
        for (pointer, folder) in checkpoints(spec, "/reward") {
            *folder = self.models().roots().allow(folder, &format!("{pointer}/model"))?.display().to_string();
        }
        let (spec, backends) = (spec.clone(), self.rewards.clone());
        let built = tokio::task::spawn_blocking(move || build_with(&spec, &backends)).await;
        let built = built.map_err(|error| ServiceError::Internal(error.to_string()))?;
        built.map_err(|error| ServiceError::field("/reward", error.to_string()))
    }
}

/// The checkpoints that a reward names, each with the place of its reward.
fn checkpoints<'a>(spec: &'a mut RewardSpec, pointer: &str) -> Vec<(String, &'a mut String)> {
    match spec {
        RewardSpec::ImageText { model, .. } => vec![(pointer.to_owned(), model)],
        RewardSpec::Weighted { parts } => {
            let of_part = |(index, part)| {
                let part: &'a mut crate::domain::spec::WeightedReward = part;
                checkpoints(&mut part.reward, &format!("{pointer}/parts/{index}/reward"))
            };
            parts.iter_mut().enumerate().flat_map(of_part).collect()
        }
        _ => Vec::new(),
    }
}

fn looks_at_images(spec: &RewardSpec) -> bool {
    match spec {
        RewardSpec::ImageText { .. } => true,
        RewardSpec::Weighted { parts } => parts.iter().any(|part| looks_at_images(&part.reward)),
        _ => false,
    }
}

/// Rows of a data set, and how many of them have no image; none where it has no report.
fn without_image(data: &DatasetRecord) -> Option<(u64, u64)> {
    let report = DatasetEntry::from(data.clone()).report?;
    Some((report.rows, report.rows_without_image))
}

/// Has no row of the data set an image?
fn has_no_images(preview: &Preview, data: &DatasetRecord) -> bool {
    without_image(data).map_or(preview.prompt.images.is_empty(), |(rows, without)| rows == without)
}

/// Refuses a reward that looks at images for a data set that has none.
pub(super) fn check_images(spec: &JobSpec, preview: &Preview, data: &DatasetRecord) -> Result<()> {
    if !(looks_at_images(&spec.reward) && has_no_images(preview, data)) {
        return Ok(());
    }
    let detail = format!(
        "the reward `image_text` compares responses with images, but the rows of data set `{}` have none: choose \
         another reward, or a data set with images",
        data.name
    );
    Err(ServiceError::field("/reward", detail))
}

/// Refuses an audit of rows without images.
pub(super) fn check_audit(spec: &JobSpec, preview: &Preview, data: &DatasetRecord) -> Result<()> {
    let audits = matches!(&spec.method, Method::Eval(method) if method.audit);
    if !(audits && has_no_images(preview, data)) {
        return Ok(());
    }
    let detail = format!(
        "an audit measures what responses depend on the image for, but the rows of data set `{}` have none: choose a \
         data set with images",
        data.name
    );
    Err(ServiceError::field("/dataset", detail))
}

/// Tells of the rows that a reward cannot judge because they have no image.
pub(super) fn missing_images(spec: &JobSpec, data: &DatasetRecord) -> Option<JobWarning> {
    let (rows, without) = without_image(data).filter(|(_, without)| *without > 0 && looks_at_images(&spec.reward))?;
    let detail = format!(
        "{without} of {rows} rows of data set `{}` have no image: responses to them get no verdict from the reward \
         `image_text`, and are removed from their groups",
        data.name
    );
    Some(JobWarning { code: "rows_without_image".to_owned(), pointer: "/reward".to_owned(), detail })
}
