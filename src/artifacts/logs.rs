//! Logs of jobs: one file of JSON lines a job, written while it runs and read at the same time.
//!
//! A line is one `write` at the end of the file, so a writer that is killed leaves at most its last line incomplete;
//! readers skip what is not a line. Where hosts share no disk, the writer's host copies the file to the artifact
//! store from time to time, and readers take the longer of the two.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ArtifactStore;
use crate::domain::log::{LogLevel, LogLine, LogPage};

/// A file grows no further than about this many bytes.
const FULL: u64 = 16 << 20;
/// Most bytes that one read looks at.
const WINDOW: u64 = 1 << 20;
/// Longest text of a line, in characters.
const MAX_MESSAGE: usize = 8_000;

/// The folder of all logs.
#[derive(Clone)]
pub struct JobLogs {
    folder: PathBuf,
    /// Prefix of copies for other hosts.
    shared: Option<Arc<dyn ArtifactStore>>,
}

/// The writing end of one job's log.
#[derive(Debug)]
pub struct JobLogWriter {
    file: File,
    bytes: u64,
}

impl JobLogs {
    /// Logs in `folder`, which is made when the first line is written.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), shared: None }
    }

    /// The same logs with copies for other hosts, where `artifacts` are shared with them.
    #[must_use]
    pub fn shared_by(self, artifacts: &Arc<dyn ArtifactStore>) -> Self {
        Self { shared: artifacts.is_shared().then(|| Arc::clone(artifacts)), ..self }
    }

    /// Must the log be copied to the bucket for other hosts?
    pub fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Copies a job's log for other hosts, where they need a copy and it has changed since it had `known` bytes;
    /// returns its size. A longer copy is kept: another host has continued the job.
    pub fn share(&self, job_id: &str, known: u64) -> io::Result<u64> {
        let here = self.size_here(job_id)?;
        if let (Some(artifacts), true) = (&self.shared, here != known)
            && self.size_copied(job_id)? <= here
        {
            artifacts.share_log(job_id, &self.path(job_id)?).map_err(io::Error::other)?;
        }
        Ok(here)
    }

    fn size_here(&self, job_id: &str) -> io::Result<u64> {
        match std::fs::metadata(self.path(job_id)?) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn size_copied(&self, job_id: &str) -> io::Result<u64> {
        let copied = self.shared.as_ref().map_or(Ok(0), |artifacts| artifacts.shared_log_size(job_id));
        copied.map_err(io::Error::other)
    }

    /// The longer of the local log and the copy.
    fn longer(&self, job_id: &str) -> io::Result<Longer<'_>> {
        let (here, copied) = (self.size_here(job_id)?, self.size_copied(job_id)?);
        Ok(Longer { copied_to: self.shared.as_deref().filter(|_| copied > here), size: here.max(copied) })
    }

    /// Takes over what another host has written.
    fn take_over(&self, job_id: &str) -> io::Result<()> {
        let Longer { copied_to: Some(artifacts), size } = self.longer(job_id)? else { return Ok(()) };
        let content = artifacts.shared_log(job_id, 0..size).map_err(io::Error::other)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&content)?;
        file.persist(self.path(job_id)?)?;
        Ok(())
    }

    /// Ids are our own, but they also come from URLs: no path may leave the folder.
    fn path(&self, job_id: &str) -> io::Result<PathBuf> {
        let fits = !job_id.is_empty() && job_id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if fits { Ok(self.folder.join(format!("{job_id}.jsonl"))) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Opens a job's log for appending, whichever host wrote it.
    pub fn writer(&self, job_id: &str) -> io::Result<JobLogWriter> {
        std::fs::create_dir_all(&self.folder)?;
        self.take_over(job_id)?;
        let mut file = File::options().create(true).read(true).append(true).open(self.path(job_id)?)?;
        let mut bytes = file.metadata()?.len();
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::Start(bytes - 1))?;
            file.read_exact(&mut last)?;
        }
        // Ends the line that a killed writer left open.
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            bytes += 1;
        }
        Ok(JobLogWriter { file, bytes })
    }

    /// Up to `limit` lines after the position `after`.
    pub fn read(&self, job_id: &str, after: u64, limit: usize) -> io::Result<LogPage> {
        self.read_from(&self.longer(job_id)?, job_id, after, limit)
    }

    fn read_from(&self, log: &Longer<'_>, job_id: &str, after: u64, limit: usize) -> io::Result<LogPage> {
        let (window, more) = self.window(log, job_id, after)?;
        let (mut lines, mut at, mut full) = (Vec::new(), after, false);
        for line in window.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            if lines.len() == limit {
                full = true;
                break;
            }
            at += line.len() as u64;
            lines.extend(serde_json::from_slice(line).ok());
        }
        // A window without a complete line is damaged: skip it.
        if more && at == after {
            at = after + window.len() as u64;
        }
        Ok(page(lines, at, full || more))
    }

    /// The last `limit` lines.
    pub fn tail(&self, job_id: &str, limit: usize) -> io::Result<LogPage> {
        let log = self.longer(job_id)?;
        let mut last = self.read_from(&log, job_id, log.size.saturating_sub(WINDOW), usize::MAX)?;
        last.data.drain(..last.data.len().saturating_sub(limit));
        Ok(last)
    }

    /// Removes a job's log; one that is absent is fine.
    pub fn remove(&self, job_id: &str) -> io::Result<()> {
        let path = self.path(job_id)?;
        if let Some(artifacts) = &self.shared {
            artifacts.forget_log(job_id).map_err(io::Error::other)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The bytes after a position, and whether there are more; nothing without a log.
    fn window(&self, log: &Longer<'_>, job_id: &str, after: u64) -> io::Result<(Vec<u8>, bool)> {
        let part = after.min(log.size)..after.saturating_add(WINDOW).min(log.size);
        let more = part.end < log.size;
        if part.is_empty() {
            return Ok((Vec::new(), more));
        }
        if let Some(artifacts) = log.copied_to {
            return Ok((artifacts.shared_log(job_id, part).map_err(io::Error::other)?, more));
        }
        let mut file = File::open(self.path(job_id)?)?;
        file.seek(SeekFrom::Start(part.start))?;
        let mut bytes = Vec::new();
        file.take(part.end - part.start).read_to_end(&mut bytes)?;
        Ok((bytes, more))
    }
}

/// The file of the complete log.
struct Longer<'a> {
    /// The store that holds it; none: this host's disk.
    copied_to: Option<&'a dyn ArtifactStore>,
    size: u64,
}

impl JobLogWriter {
    /// Writes a line; lines beyond the limit of the file are dropped, which its last line says.
    pub fn write(&mut self, line: &LogLine) -> io::Result<()> {
        if self.bytes >= FULL {
            return Ok(());
        }
        let mut line = line.clone();
        if line.message.chars().count() > MAX_MESSAGE {
            line.message = line.message.chars().take(MAX_MESSAGE).chain(['…']).collect();
        }
        self.put(&line)?;
        if self.bytes >= FULL {
            let message = format!("this log has reached its limit of {FULL} bytes: later lines are left out");
            self.put(&LogLine { level: LogLevel::Warn, message, ..line })?;
        }
        Ok(())
    }

    fn put(&mut self, line: &LogLine) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn page(data: Vec<LogLine>, at: u64, has_more: bool) -> LogPage {
    LogPage { data, has_more, next: at.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> LogLine {
        LogLine { time: chrono::DateTime::UNIX_EPOCH, level: LogLevel::Info, attempt: 1, message: message.to_owned() }
    }

    fn texts(page: &LogPage) -> Vec<&str> {
        page.data.iter().map(|line| line.message.as_str()).collect()
    }

    #[test]
    fn lines_are_read_in_pages_and_from_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let logs = JobLogs::new(folder.path());
        assert_eq!(logs.read("job_a", 0, 9).unwrap(), page(Vec::new(), 0, false), "no log yet");
        let mut writer = logs.writer("job_a").unwrap();
        for number in 0..5 {
            writer.write(&line(&format!("line {number}"))).unwrap();
        }
        let first = logs.read("job_a", 0, 2).unwrap();
        assert_eq!((texts(&first), first.has_more), (vec!["line 0", "line 1"], true));
        let rest = logs.read("job_a", first.next.parse().unwrap(), 9).unwrap();
        assert_eq!((texts(&rest), rest.has_more), (vec!["line 2", "line 3", "line 4"], false));
        assert_eq!(logs.read("job_a", rest.next.parse().unwrap(), 9).unwrap(), LogPage { data: Vec::new(), ..rest });
        assert_eq!(texts(&logs.tail("job_a", 2).unwrap()), ["line 3", "line 4"]);
        logs.remove("job_a").unwrap();
        logs.remove("job_a").unwrap();
        assert!(logs.tail("job_a", 2).unwrap().data.is_empty());
        assert!(logs.read("../secret", 0, 9).is_err());
    }

    #[test]
    fn a_killed_writer_spoils_one_line_only() {
        let folder = tempfile::tempdir().unwrap();
        let logs = JobLogs::new(folder.path());
        logs.writer("job_a").unwrap().write(&line("one")).unwrap();
        let path = folder.path().join("job_a.jsonl");
        File::options().append(true).open(&path).unwrap().write_all(b"{\"time\": \"19").unwrap();
        let before = logs.read("job_a", 0, 9).unwrap();
        assert_eq!(texts(&before), ["one"], "an open line is not told yet");
        logs.writer("job_a").unwrap().write(&line("two")).unwrap();
        assert_eq!(texts(&logs.read("job_a", before.next.parse().unwrap(), 9).unwrap()), ["two"]);
        assert_eq!(texts(&logs.read("job_a", 0, 9).unwrap()), ["one", "two"]);
    }

    #[test]
    fn a_log_has_a_limit_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let logs = JobLogs::new(folder.path());
        let mut writer = logs.writer("job_a").unwrap();
        writer.bytes = FULL - 10;
        writer.write(&line(&"x".repeat(9_000))).unwrap();
        writer.write(&line("never")).unwrap();
        let all = logs.read("job_a", 0, 9).unwrap();
        assert_eq!(all.data.len(), 2);
        assert_eq!(all.data[0].message.chars().count(), MAX_MESSAGE + 1);
        assert!(all.data[1].message.contains("reached its limit"));
    }
}
