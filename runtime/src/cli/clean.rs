//! `clean`: removes what dead runs of a job left at its target.

use std::path::Path;

use serde_json::json;

use super::{Options, one};
use crate::component::Stop;
use crate::pipeline::{Cleaned, clean as sweep};
use crate::report;

pub async fn clean(path: &Path, options: &Options) -> super::Outcome {
    let ready = options.ready(path).await?;
    let store = options.store()?;
    let cleaned = sweep(&ready, &store, Stop::never()).await.map_err(one)?;
    if options.json {
        report::json(&json!(cleaned));
        return Ok(());
    }
    for line in lines(&cleaned) {
        report::result(&line);
    }
    Ok(())
}

fn lines(cleaned: &Cleaned) -> Vec<String> {
    let mut lines = Vec::new();
    for recovered in &cleaned.recovered {
        let what = recovered.outcome.sentence();
        lines.push(format!("run {} was cut short: {what}", recovered.run_id));
    }
    for staged in &cleaned.removed {
        lines.push(format!(
            "removed what run {} staged for {}",
            staged.run_id, staged.url
        ));
    }
    for staged in &cleaned.kept {
        lines.push(format!(
            "kept what run {} staged for {}: it may be running on another machine, until `limits.deadline` has passed",
            staged.run_id, staged.url
        ));
    }
    if cleaned.foreign > 0 {
        lines.push(format!("left alone: {} of other jobs", cleaned.foreign));
    }
    if cleaned.unknown_uploads > 0 {
        lines.push(format!(
            "left alone: {} multipart uploads that no run began; list them with `aws s3api list-multipart-uploads`",
            cleaned.unknown_uploads
        ));
    }
    if lines.is_empty() {
        lines.push("nothing was left".to_owned());
    }
    lines
}
