//! The documents of a parquet file, some megabytes at a time.
//!
//! Covered: a column `text` of strings or bytes, not nested, stored plain, by snappy or by zstd; that is what text is
//! commonly published as. All else is `Unsupported` and left to a fuller reader.

use std::fs::File;
use std::path::Path;

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::documents::{Cut, Limits, cut_all};
use crate::error::TrainError;

/// The name of the column.
const COLUMN: &str = "text";

/// What is wrong with a file.
#[derive(Debug)]
pub enum ReadError {
    /// It cannot be opened or read.
    Io(std::io::Error),
    /// It is not what it claims to be.
    Damaged(String),
    /// It has no column of that name.
    NoColumn,
    /// It uses something that is not covered.
    Unsupported(String),
}

impl From<ParquetError> for ReadError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::NYI(why) => Self::Unsupported(why),
            ParquetError::General(why) | ParquetError::EOF(why) => Self::Damaged(why),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Documents that were read together. They share the memory of the pages they lie in.
#[derive(Debug, Default)]
pub struct Texts {
    texts: Vec<ByteArray>,
    bytes: usize,
}

impl Texts {
    /// How many documents.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The texts up to the limits.
    ///
    /// # Errors
    /// `Utf8`: a document is not UTF-8.
    pub fn cut(&self, limits: Limits) -> Result<Cut<'_>, TrainError> {
        cut_all(self.texts.iter().map(|text| Ok(text.data())), limits)
    }
}

/// Reads a file from its beginning to its end.
pub struct ParquetTexts {
    file: SerializedFileReader<File>,
    leaf: usize,
    nullable: bool,
    /// The next row group.
    group: usize,
    /// The one being read, and how many of its rows make a batch of one byte.
    column: Option<(ColumnReaderImpl<ByteArrayType>, u64)>,
}

impl ParquetTexts {
    /// Opens a file.
    ///
    /// # Errors
    /// See `ReadError`.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = SerializedFileReader::new(File::open(path).map_err(ReadError::Io)?)?;
        let schema = file.metadata().file_metadata().schema_descr();
        let leaf = (0..schema.num_columns()).find(|&leaf| schema.column(leaf).path().string() == COLUMN);
        let leaf = leaf.ok_or(ReadError::NoColumn)?;
        let column = schema.column(leaf);
        if column.physical_type() != Type::BYTE_ARRAY
            || column.max_rep_level() > 0
            || column.max_def_level() > 1
        {
            return Err(ReadError::Unsupported(format!("{COLUMN} is no plain column of strings")));
        }
        let nullable = column.max_def_level() > 0;
        for group in file.metadata().row_groups() {
            let compression = group.column(leaf).compression();
            if !matches!(compression, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_))
            {
                return Err(ReadError::Unsupported(format!("compression {compression}")));
            }
        }
        Ok(Self { file, leaf, nullable, group: 0, column: None })
    }

    /// Bytes that the column takes before compression.
    pub fn size(&self) -> u64 {
        let groups = self.file.metadata().row_groups();
        groups
            .iter()
            .map(|group| u64::try_from(group.column(self.leaf).uncompressed_size()).unwrap_or(0))
            .sum()
    }

    /// The next documents, about `max_bytes` of them; None at the end. A null is an empty document.
    ///
    /// # Errors
    /// See `ReadError`.
    pub fn next(&mut self, max_bytes: u64) -> Result<Option<Texts>, ReadError> {
        loop {
            if let Some((column, row_bytes)) = &mut self.column {
                let rows = usize::try_from(max_bytes / *row_bytes).unwrap_or(usize::MAX).max(1);
                let mut values = Vec::new();
                let mut levels = Vec::new();
                let wanted = if self.nullable { Some(&mut levels) } else { None };
                let (read, _, _) = column.read_records(rows, wanted, None, &mut values)?;
                if read > 0 {
                    let bytes = values.iter().map(ByteArray::len).sum();
                    let texts = if values.len() < read { with_nulls(values, &levels) } else { values };
                    return Ok(Some(Texts { texts, bytes }));
                }
                self.column = None;
            }
            if self.group >= self.file.num_row_groups() {
                return Ok(None);
            }
            let group = self.file.get_row_group(self.group)?;
            let about = group.metadata();
            let bytes = u64::try_from(about.column(self.leaf).uncompressed_size()).unwrap_or(0);
            let rows = u64::try_from(about.num_rows()).unwrap_or(0).max(1);
            let ColumnReader::ByteArrayColumnReader(column) = group.get_column_reader(self.leaf)? else {
                return Err(ReadError::Unsupported(format!("{COLUMN} is no column of strings")));
            };
            self.column = Some((column, bytes / rows + 1));
            self.group += 1;
        }
    }
}

/// Puts an empty text wherever the level says that there is none.
fn with_nulls(values: Vec<ByteArray>, levels: &[i16]) -> Vec<ByteArray> {
    let mut values = values.into_iter();
    let empty = || ByteArray::from(Vec::new());
    levels
        .iter()
        .map(|&level| if level > 0 { values.next().unwrap_or_else(empty) } else { empty() })
        .collect()
}
