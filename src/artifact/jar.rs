//! Whether a file is a jar, as far as Flink needs to open it; and the smallest jar there is.
//!
//! A jar is a zip file ("JAR File Specification"); its manifest is optional. The layout is that of PKWARE's APPNOTE 6.3.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use bytes::Bytes;

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const CENTRAL_HEADER: &[u8] = b"PK\x01\x02";
const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const ZIP64_LOCATOR: &[u8] = b"PK\x06\x07";
const ZIP64_END_OF_DIRECTORY: &[u8] = b"PK\x06\x06";
/// The end record without its comment.
const END_BYTES: usize = 22;
/// The end record with the longest comment, and a zip64 locator before it.
const TAIL_BYTES: u64 = 22 + 0xffff + 20;

/// Why bytes are not a jar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JarFault {
    /// A web page, often a login or an error page.
    #[error("it is an HTML page, perhaps a login page; use the address of the file itself")]
    Html,
    /// Something else that does not begin like a zip file.
    #[error("it does not begin like a zip file; check that jarURI points at the jar")]
    NotZip,
    /// Encoded for transport, which is not undone: the result could be of any size.
    #[error("the server sends it with a Content-Encoding; publish the jar as it is")]
    Encoded,
    /// The end of the zip file is missing.
    #[error("it ends before its central directory; publish the whole file")]
    Truncated,
    /// The directory is not where the end record says.
    #[error("its central directory is damaged; publish the jar again")]
    Damaged,
    /// A zip file without entries.
    #[error("it has no entries")]
    Empty,
}

/// Judges the first bytes; four are enough to accept, more help to name what it is instead.
pub(super) fn check_head(head: &[u8]) -> Result<(), JarFault> {
    if head.starts_with(LOCAL_HEADER) {
        return Ok(());
    }
    if head.starts_with(END_OF_DIRECTORY) {
        return Err(JarFault::Empty);
    }
    let text = head.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    let begins = |with: &[u8]| {
        text.get(..with.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(with))
    };
    if [&b"<!doctype html"[..], b"<html", b"<head", b"<body", b"<!--"]
        .iter()
        .any(|with| begins(with))
    {
        return Err(JarFault::Html);
    }
    Err(JarFault::NotZip)
}

/// Judges a complete file. Reads at most 66 KiB of it.
pub(super) fn check_file(path: &Path) -> io::Result<Result<(), JarFault>> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head)?;
    if let Err(fault) = check_head(&head) {
        return Ok(Err(fault));
    }
    let size = file.metadata()?.len();
    let tail_at = size.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(tail_at))?;
    let mut tail = Vec::new();
    file.by_ref().take(TAIL_BYTES).read_to_end(&mut tail)?;
    let Some(end_in_tail) = find_end(&tail) else {
        return Ok(Err(JarFault::Truncated));
    };
    let Some(directory) = Directory::read(&tail, tail_at, end_in_tail) else {
        return Ok(Err(JarFault::Damaged));
    };
    if directory.entries == 0 {
        return Ok(Err(JarFault::Empty));
    }
    let mut signature = [0; 4];
    file.seek(SeekFrom::Start(directory.start))?;
    file.read_exact(&mut signature)?;
    let matches = signature
        == *if directory.zip64 {
            ZIP64_END_OF_DIRECTORY
        } else {
            CENTRAL_HEADER
        };
    Ok(if matches { Ok(()) } else { Err(JarFault::Damaged) })
}

/// Where the end record begins: the last signature whose comment ends with the file.
fn find_end(tail: &[u8]) -> Option<usize> {
    let last = tail.len().checked_sub(END_BYTES)?;
    (0..=last).rev().find(|&at| {
        tail.get(at..).is_some_and(|record| {
            record.starts_with(END_OF_DIRECTORY)
                && number::<2>(record, 20).is_some_and(|comment| END_BYTES as u64 + comment == record.len() as u64)
        })
    })
}

/// What the end record says.
struct Directory {
    entries: u64,
    /// Where the central directory begins, or for zip64 its own end record.
    start: u64,
    zip64: bool,
}

impl Directory {
    fn read(tail: &[u8], tail_at: u64, end_in_tail: usize) -> Option<Self> {
        let record = tail.get(end_in_tail..)?;
        let end_at = tail_at + end_in_tail as u64;
        let entries = number::<2>(record, 10)?;
        let bytes = number::<4>(record, 12)?;
        let offset = number::<4>(record, 16)?;
        if entries == 0xffff || bytes == 0xffff_ffff || offset == 0xffff_ffff {
            let locator = tail.get(end_in_tail.checked_sub(20)?..end_in_tail)?;
            if locator.starts_with(ZIP64_LOCATOR) {
                let start = number::<8>(locator, 8)?;
                return (start.checked_add(4)? <= end_at).then_some(Self {
                    entries: 1,
                    start,
                    zip64: true,
                });
            }
        }
        // Offsets count from the first local header, which a launch script may precede; the size is always right.
        let start = end_at.checked_sub(bytes)?;
        (offset <= start && bytes >= 46 || entries == 0).then_some(Self {
            entries,
            start,
            zip64: false,
        })
    }
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let digits = bytes.get(at..at + N)?;
    Some(
        digits
            .iter()
            .rev()
            .fold(0, |number, &digit| number << 8 | u64::from(digit)),
    )
}

/// The smallest jar: a manifest and nothing else, always the same bytes.
///
/// Flink's `/jars/:id/run` wants a jar also for a class that is on the cluster's class path already.
#[must_use]
pub fn stub_jar() -> Bytes {
    const NAME: &[u8] = b"META-INF/MANIFEST.MF";
    const MANIFEST: &[u8] = b"Manifest-Version: 1.0\r\n\r\n";
    // Version 1.0, no flags, stored, 1980-01-01 00:00, CRC-32, both sizes, the lengths of the name and of no extra field.
    let mut entry = Vec::new();
    for half in [10, 0, 0, 0, 0x21_u16] {
        entry.extend(half.to_le_bytes());
    }
    entry.extend(crc32(MANIFEST).to_le_bytes());
    entry.extend(four_bytes(MANIFEST.len()));
    entry.extend(four_bytes(MANIFEST.len()));
    entry.extend(four_bytes(NAME.len()));

    let local = [LOCAL_HEADER, &entry, NAME, MANIFEST].concat();
    // The central entry adds: made by version 1.0; no comment, first disk, no attributes, offset 0.
    let central = [CENTRAL_HEADER, &[10, 0], &entry, &[0; 14], NAME].concat();
    let end = [
        END_OF_DIRECTORY,
        &[0, 0, 0, 0, 1, 0, 1, 0],
        &four_bytes(central.len()),
        &four_bytes(local.len()),
        &[0, 0],
    ]
    .concat();
    [local, central, end].concat().into()
}

fn four_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// CRC-32 as zip files use it (reflected polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::artifact::Sha256Sum;

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn judged(bytes: &[u8]) -> Result<(), JarFault> {
        check_file(file_of(bytes).path()).map_err(|error| panic!("{error}"))?
    }

    #[test]
    fn the_stub_is_a_jar_that_never_changes() {
        let jar = stub_jar();
        assert_eq!(judged(&jar), Ok(()));
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(
            Sha256Sum::of(&jar).to_string(),
            "a27ed2bbb1a6c8b56ee8857866686f4e848393527568d36ed370d2b9ae52b0a5"
        );
    }

    #[test]
    fn other_files_are_named() {
        for page in [
            "<!DOCTYPE HTML><html>",
            "\u{feff}\n <html lang=en>",
            "<!-- login -->",
            "  <Head>",
        ] {
            assert_eq!(judged(page.as_bytes()), Err(JarFault::Html), "{page}");
        }
        for other in [
            &b""[..],
            b"PK",
            b"\x1f\x8b\x08",
            b"{\"error\":1}",
            b"#!/bin/sh\nPK\x03\x04",
        ] {
            assert_eq!(judged(other), Err(JarFault::NotZip));
        }
        let empty = [END_OF_DIRECTORY, &[0; 18]].concat();
        assert_eq!(judged(&empty), Err(JarFault::Empty));
    }

    #[test]
    fn a_cut_or_damaged_jar_is_refused() {
        let jar = stub_jar();
        for end in 4..jar.len() {
            assert!(judged(&jar[..end]).is_err(), "{end} bytes");
        }
        assert_eq!(judged(&jar[..jar.len() - 1]), Err(JarFault::Truncated));
        assert_eq!(judged(&[&jar[..], &[0; 9]].concat()), Err(JarFault::Truncated));
        let mut damaged = jar.to_vec();
        let directory = damaged.windows(4).position(|window| window == CENTRAL_HEADER).unwrap();
        damaged[directory] = b'X';
        assert_eq!(judged(&damaged), Err(JarFault::Damaged));
    }

    #[test]
    fn a_comment_may_look_like_an_end_record() {
        let mut jar = stub_jar().to_vec();
        let comment = [END_OF_DIRECTORY, &[7; 40]].concat();
        let length = jar.len();
        jar[length - 2] = u8::try_from(comment.len()).unwrap();
        jar.extend(comment);
        assert_eq!(judged(&jar), Ok(()));
    }

    #[test]
    fn a_zip64_end_is_understood() {
        let jar = stub_jar();
        let (front, end) = jar.split_at(jar.len() - END_BYTES);
        let mut end = end.to_vec();
        end[8..20].fill(0xff);
        let at = front.len() as u64;
        let zip64 = [
            ZIP64_END_OF_DIRECTORY,
            &[0; 52],
            ZIP64_LOCATOR,
            &[0; 4],
            &at.to_le_bytes(),
            &[1, 0, 0, 0],
        ]
        .concat();
        assert_eq!(judged(&[front, &zip64, &end].concat()), Ok(()));
        assert_eq!(judged(&[front, &[0; 76], &end].concat()), Err(JarFault::Damaged));
    }

    proptest::proptest! {
        #[test]
        fn judging_is_total(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), jar in proptest::bool::ANY) {
            let bytes = if jar { [&stub_jar()[..], &bytes].concat() } else { bytes };
            let _ = judged(&bytes);
        }
    }
}
