//! TensorBoard's event files: records framed as in TensorFlow (length, its checksum, data, its checksum), each holding
//! an `Event` message (tensorflow/core/util/event.proto, framework/summary.proto, framework/tensor.proto).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use crc::{CRC_32_ISCSI, Crc};

use super::Result;
use super::error::io;
use super::run::ExportedRun;

const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Added to a rotated checksum, so that checksums of data that contains checksums are not a special case.
const MASK: u32 = 0xa282_ead8;
/// What the first event of a file says.
const VERSION: &str = "brain.Event:2";
/// `DT_STRING`.
const STRINGS: u64 = 7;

/// Writes the folder `to` with one event file.
pub(super) fn write(run: &ExportedRun, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(io("create", to))?;
    let path = to.join(format!("events.out.tfevents.{:010}.{}", run.started_at.timestamp(), run.id));
    let mut out = BufWriter::new(File::create(&path).map_err(io("create", &path))?);
    let written = write_events(run, &mut out).and_then(|()| out.flush()).and_then(|()| out.get_ref().sync_all());
    written.map_err(io("write", &path))
}

fn write_events(run: &ExportedRun, out: &mut impl Write) -> std::io::Result<()> {
    let mut first = event(run.started_at, 0);
    first.bytes(3, VERSION.as_bytes());
    record(out, &first.0)?;
    let mut settings = String::from("| setting | value |\n|---|---|\n");
    for (name, value) in &run.settings {
        let value = value.replace('|', "\\|").replace('\n', " ");
        settings += &["| ", name, " | ", &value, " |\n"].concat();
    }
    summary(out, run.started_at, 0, &text("settings", &settings))?;
    for row in &run.rows {
        let counts =
            [("progress/samples".to_owned(), row.samples as f64), ("progress/tokens".to_owned(), row.tokens as f64)];
        for (key, value) in row.values.iter().chain(&counts) {
            summary(out, row.time, row.step, &scalar(key, *value))?;
        }
    }
    Ok(())
}

fn summary(out: &mut impl Write, time: DateTime<Utc>, step: u64, value: &Message) -> std::io::Result<()> {
    let mut summary = Message::default();
    summary.bytes(1, &value.0);
    let mut event = event(time, step);
    event.bytes(5, &summary.0);
    record(out, &event.0)
}

/// An `Event` with `wall_time` and `step`.
fn event(time: DateTime<Utc>, step: u64) -> Message {
    let mut event = Message::default();
    event.double(1, time.timestamp_millis() as f64 / 1e3);
    event.number(2, step);
    event
}

/// A `Summary.Value` with `tag` and `simple_value`.
fn scalar(tag: &str, number: f64) -> Message {
    let mut value = Message::default();
    value.bytes(1, tag.as_bytes());
    value.float(2, number as f32);
    value
}

/// A `Summary.Value` of the text plugin: `tag`, a `tensor` of one string, `metadata` with the plugin's name.
fn text(tag: &str, content: &str) -> Message {
    let (mut plugin, mut metadata) = (Message::default(), Message::default());
    plugin.bytes(1, b"text");
    metadata.bytes(1, &plugin.0);
    let (mut dimension, mut shape, mut tensor) = (Message::default(), Message::default(), Message::default());
    dimension.number(1, 1);
    shape.bytes(2, &dimension.0);
    tensor.number(1, STRINGS);
    tensor.bytes(2, &shape.0);
    tensor.bytes(8, content.as_bytes());
    let mut value = Message::default();
    value.bytes(1, tag.as_bytes());
    value.bytes(8, &tensor.0);
    value.bytes(9, &metadata.0);
    value
}

fn record(out: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked(data).to_le_bytes())
}

fn masked(data: &[u8]) -> u32 {
    CHECKSUM.checksum(data).rotate_right(15).wrapping_add(MASK)
}

/// A protocol-buffer message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_format() {
        // RFC 3720, B.4: CRC32C of 32 zero bytes.
        assert_eq!(CHECKSUM.checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(MASK));
    }

    #[test]
    fn numbers_are_written_in_groups_of_seven_bits() {
        let mut message = Message::default();
        message.number(1, 300);
        assert_eq!(message.0, [0x08, 0xac, 0x02]);
    }
}
