//! Pages of Parquet after they were inflated and before they become values: a dictionary says a thing once that rows
//! then repeat, and a row may hold any number of them.

use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::RowGroupReader;
use parquet::schema::types::Type;

/// Values of one page.
const MAX_PAGE_VALUES: u32 = 1 << 22;
/// Values of one column in one row.
const MAX_ROW_VALUES: u64 = 1 << 16;
/// Bytes of a page whose values are beginnings of each other: each may be as long as the page.
const MAX_DELTA_PAGE: usize = 4 << 20;

/// A row group whose pages are judged.
pub(super) struct Guarded<'a> {
    pub(super) inner: Box<dyn RowGroupReader + 'a>,
    /// Bytes of one column in one row.
    pub(super) row_bytes: u64,
}

impl RowGroupReader for Guarded<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.inner.metadata()
    }

    fn num_columns(&self) -> usize {
        self.inner.num_columns()
    }

    fn get_column_page_reader(&self, column: usize) -> Result<Box<dyn PageReader>> {
        let inner = self.inner.get_column_page_reader(column)?;
        let about = self.metadata().schema_descr().column(column);
        Ok(Box::new(Pages {
            inner,
            is_text: about.physical_type() == Physical::BYTE_ARRAY,
            depth: about.max_rep_level(),
            row_bytes: self.row_bytes,
            longest: 0,
            in_row: 0,
        }))
    }

    fn get_column_bloom_filter(&self, column: usize) -> Option<&parquet::bloom_filter::Sbbf> {
        self.inner.get_column_bloom_filter(column)
    }

    fn get_row_iter(&self, _: Option<Type>) -> Result<parquet::record::reader::RowIter<'_>> {
        Err(ParquetError::General("rows are read by their columns".to_owned()))
    }
}

struct Pages {
    inner: Box<dyn PageReader>,
    is_text: bool,
    /// Nested lists around a value.
    depth: i16,
    row_bytes: u64,
    /// Bytes of the dictionary's longest entry.
    longest: u64,
    /// Values so far of the row that the last page ended in.
    in_row: u64,
}

fn refused(problem: String) -> ParquetError {
    ParquetError::General(problem)
}

impl Pages {
    fn judge(&mut self, page: &Page) -> Result<()> {
        let values = page.num_values();
        if values > MAX_PAGE_VALUES {
            return Err(refused(format!("a page has {values} values; the limit is {MAX_PAGE_VALUES}")));
        }
        let (buffer, encoding) = match page {
            Page::DictionaryPage { buf, .. } => return self.dictionary(buf, values),
            Page::DataPage { buf, encoding, .. } | Page::DataPageV2 { buf, encoding, .. } => (buf, *encoding),
        };
        if encoding == Encoding::DELTA_BYTE_ARRAY && buffer.len() > MAX_DELTA_PAGE {
            let size = buffer.len();
            return Err(refused(format!("a page of DELTA_BYTE_ARRAY has {size} bytes; the limit is {MAX_DELTA_PAGE}")));
        }
        let most = if self.depth == 0 { 1 } else { self.most_in_a_row(page, values)? };
        if most > MAX_ROW_VALUES {
            return Err(refused(format!("a row has {most} values in one column; the limit is {MAX_ROW_VALUES}")));
        }
        let repeats = matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        let bytes = most.saturating_mul(self.longest);
        if repeats && bytes > self.row_bytes {
            let limit = self.row_bytes;
            return Err(refused(format!("a row may have {bytes} bytes in one column; the limit is {limit}")));
        }
        Ok(())
    }

    /// Every entry of a dictionary takes room before it is read.
    fn dictionary(&mut self, buffer: &[u8], values: u32) -> Result<()> {
        let least = if self.is_text { 4 } else { 1 };
        if u64::from(values) * least > buffer.len() as u64 {
            return Err(refused(format!("a dictionary of {} bytes cannot have {values} entries", buffer.len())));
        }
        let mut rest = buffer;
        while let (true, Some((length, tail))) = (self.is_text, rest.split_first_chunk()) {
            let length = u32::from_le_bytes(*length);
            self.longest = self.longest.max(u64::from(length));
            rest = tail.get(length as usize..).unwrap_or_default();
        }
        Ok(())
    }

    /// The most values that one row has, by the repetition levels of the page: a level of 0 begins a row.
    fn most_in_a_row(&mut self, page: &Page, values: u32) -> Result<u64> {
        let broken = || refused("the levels of a page are damaged".to_owned());
        let levels: &[u8] = match page {
            Page::DataPage { buf, rep_level_encoding: Encoding::RLE, .. } => {
                let (length, rest) = buf.split_first_chunk().ok_or_else(broken)?;
                rest.get(..u32::from_le_bytes(*length) as usize).ok_or_else(broken)?
            }
            Page::DataPageV2 { buf, rep_levels_byte_len, .. } => {
                buf.get(..*rep_levels_byte_len as usize).ok_or_else(broken)?
            }
            _ => return Err(refused("levels are packed in a form that is no longer written".to_owned())),
        };
        let width = usize::from(u8::try_from(16 - self.depth.leading_zeros()).unwrap_or(16));
        let (mut most, mut left, mut rest) = (self.in_row, u64::from(values), levels);
        let mut count = |level_is_zero: bool, times: u64, in_row: &mut u64| {
            *in_row = if level_is_zero { 1 } else { in_row.saturating_add(times) };
            most = most.max(*in_row);
        };
        while left > 0 {
            let (head, tail) = varint(rest).ok_or_else(broken)?;
            if head & 1 == 0 {
                let (level, tail) = tail.split_at_checked(width.div_ceil(8)).ok_or_else(broken)?;
                let times = (head >> 1).min(left);
                if times == 0 {
                    return Err(broken());
                }
                count(level.iter().all(|byte| *byte == 0), times, &mut self.in_row);
                (left, rest) = (left - times, tail);
                continue;
            }
            let bytes =
                usize::try_from(head >> 1).ok().and_then(|groups| groups.checked_mul(width)).ok_or_else(broken)?;
            let (packed, tail) = tail.split_at_checked(bytes.min(tail.len())).ok_or_else(broken)?;
            if packed.is_empty() {
                return Err(broken());
            }
            for at in 0..(packed.len() * 8 / width).min(left as usize) {
                let bits = at * width..(at + 1) * width;
                let zero = bits.into_iter().all(|bit| packed[bit / 8] >> (bit % 8) & 1 == 0);
                count(zero, 1, &mut self.in_row);
            }
            (left, rest) = (left.saturating_sub((packed.len() * 8 / width).max(1) as u64), tail);
        }
        Ok(most)
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        page.as_ref().map_or(Ok(()), |page| self.judge(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}
