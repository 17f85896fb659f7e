//! IDX files, the format of MNIST: unsigned bytes with any number of dimensions from one to four.
//!
//! Layout, numbers big-endian: two zero bytes, the element type (0x08 for unsigned bytes), the number of
//! dimensions, one u32 per dimension, then the elements in C order. The whole may be gzip-compressed; that is
//! recognised from the content, because people rename files. Nothing a file claims is believed before it is
//! checked: a header may ask for no more memory than the file can fill, and gzip is never expanded beyond
//! what the header announced.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ndarray::{ArrayD, IxDyn};

use crate::error::{Error, Result};

/// The largest content that is read, in bytes: 2 GiB, 45 times the training images of MNIST.
const MAX_CONTENT: u64 = 2 << 30;
const MAX_DIMENSIONS: usize = 4;
const UNSIGNED_BYTE: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Deflate spends at least 2 bits on a run of 258 bytes, so it never expands by more than this.
const MAX_GZIP_RATIO: u64 = 1032;
/// Ends the messages about damaged files.
const GET_AGAIN: &str = "Get the file again; the download or the copy was probably cut short or damaged.";

/// Reads an IDX file of unsigned bytes, gzip-compressed or plain.
///
/// Returns the elements in C order with the dimensions that the header gives, such as (60000, 28, 28).
///
/// # Errors
/// `Error::File` if the file cannot be opened or read; `Error::Format` if its content is not exactly one IDX
/// file of unsigned bytes with 1 to 4 dimensions, none of them zero, and at most 2 GiB of content.
pub fn read(path: &Path) -> Result<ArrayD<u8>> {
    let cannot_read = |source| Error::File { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(cannot_read)?;
    let metadata = file.metadata().map_err(cannot_read)?;
    // A pipe or a device has no length to hold the header against.
    let stored = metadata.is_file().then_some(metadata.len());
    let mut reader = BufReader::new(file);
    let start = reader.fill_buf().map_err(cannot_read)?;
    if start.starts_with(&GZIP_MAGIC) {
        let fillable = stored.map(|bytes| bytes.saturating_mul(MAX_GZIP_RATIO));
        Source { path, gzip: true, fillable, reader: MultiGzDecoder::new(reader) }.read()
    } else {
        Source { path, gzip: false, fillable: stored, reader }.read()
    }
}

/// The uncompressed bytes of one file, and what is known of them from outside.
struct Source<'a, R> {
    path: &'a Path,
    gzip: bool,
    /// The most bytes that a file of this size can hold, if its size is known.
    fillable: Option<u64>,
    reader: R,
}

impl<R: Read> Source<'_, R> {
    fn read(mut self) -> Result<ArrayD<u8>> {
        let shape = self.read_header()?;
        let size = self.content_size(&shape)?;
        let content = self.read_content(&shape, size)?;
        ArrayD::from_shape_vec(IxDyn(&shape), content).map_err(|e| self.wrong(e.to_string()))
    }

    /// The dimensions, after checking everything else in the header.
    fn read_header(&mut self) -> Result<Vec<usize>> {
        let mut magic = [0; 4];
        let got = self.read_up_to(&mut magic)?;
        let found = hex(&magic[..got]);
        if got < magic.len() {
            return Err(self.wrong(format!(
                "this is not an IDX file: it has only {got} bytes{} and the header alone takes at least 8. \
                 {GET_AGAIN}",
                if self.gzip { " once unpacked" } else { "" }
            )));
        }
        let [zero, zero_too, element, dimensions] = magic;
        if zero != 0 || zero_too != 0 {
            return Err(self.wrong(format!(
                "this is not an IDX file: it begins with the bytes {found} where 00 00 08 and the number of \
                 dimensions were expected. {}",
                what_it_may_be(&magic)
            )));
        }
        if element != UNSIGNED_BYTE {
            return Err(self.wrong(format!(
                "the elements are {} (type 0x{element:02x}), and only unsigned bytes (type 0x08) can be \
                 read. Convert the file to unsigned bytes first.",
                type_name(element)
            )));
        }
        let dimensions = usize::from(dimensions);
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(self.wrong(format!(
                "the header gives {dimensions} dimensions where 1 to {MAX_DIMENSIONS} were expected: labels \
                 have 1, grey images 3, colour images 4. {GET_AGAIN}"
            )));
        }
        let mut lengths = vec![0; 4 * dimensions];
        let got = self.read_up_to(&mut lengths)?;
        if got < lengths.len() {
            return Err(self.wrong(format!(
                "the file ends inside its header, after {} of {} bytes. {GET_AGAIN}",
                4 + got,
                4 + lengths.len()
            )));
        }
        lengths
            .chunks_exact(4)
            .map(|b| {
                let length = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
                usize::try_from(length).map_err(|e| self.wrong(e.to_string()))
            })
            .collect()
    }

    /// The number of elements, once it is known to be possible.
    fn content_size(&self, shape: &[usize]) -> Result<usize> {
        if let Some(axis) = shape.iter().position(|&length| length == 0) {
            return Err(self.wrong(format!(
                "the header gives the shape {shape:?}, whose dimension {axis} is zero: there is nothing in \
                 the file. Use a file with at least one element."
            )));
        }
        let size = shape.iter().try_fold(1_u64, |product, &length| product.checked_mul(length as u64));
        let Some(size) = size.filter(|&size| size <= MAX_CONTENT) else {
            return Err(self.wrong(format!(
                "the header gives the shape {shape:?}, which is more than the {MAX_CONTENT} bytes that are \
                 read at most. {GET_AGAIN} If it really is that large, split it."
            )));
        };
        if let Some(fillable) = self.fillable.filter(|&fillable| fillable < size) {
            return Err(self.wrong(format!(
                "the header gives the shape {shape:?}, {size} bytes, and a file of this size holds at most \
                 {fillable}: it is truncated or not an IDX file. {GET_AGAIN}"
            )));
        }
        usize::try_from(size).map_err(|e| self.wrong(e.to_string()))
    }

    /// Exactly `size` bytes, after which the file must end.
    fn read_content(&mut self, shape: &[usize], size: usize) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        content.try_reserve_exact(size).map_err(|e| {
            self.wrong(format!("there is no memory for its {size} bytes ({e}). Free some memory."))
        })?;
        // One byte more than expected: enough to notice a longer file, and a gzip bomb gets no further. For
        // gzip, the attempt also checks the checksum at the end.
        let read = (&mut self.reader).take(size as u64).read_to_end(&mut content);
        read.map_err(|e| self.failed(e))?;
        if content.len() < size {
            return Err(self.wrong(format!(
                "the file is truncated: the shape {shape:?} needs {size} bytes after the header and {} are \
                 there. {GET_AGAIN}",
                content.len()
            )));
        }
        if self.read_up_to(&mut [0])? > 0 {
            return Err(self.wrong(format!(
                "the file goes on after the {size} bytes that its shape {shape:?} announces. Either the \
                 header or the content is wrong; get the file again."
            )));
        }
        Ok(content)
    }

    /// Fills `buffer` as far as the file goes; returns how far that was.
    fn read_up_to(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(filled)
    }

    /// An error while reading: the disk's, or the decompressor's about the content.
    fn failed(&self, source: io::Error) -> Error {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match source.kind() {
            UnexpectedEof if self.gzip => self
                .wrong(format!("the gzip data is truncated: it ends before its own end mark. {GET_AGAIN}")),
            InvalidData | InvalidInput if self.gzip => {
                self.wrong(format!("the gzip data is corrupt ({source}). {GET_AGAIN}"))
            }
            _ => Error::File { path: self.path.to_path_buf(), source },
        }
    }

    fn wrong(&self, message: String) -> Error {
        Error::Format { path: self.path.to_path_buf(), message }
    }
}

/// The name of an IDX element type.
fn type_name(code: u8) -> &'static str {
    match code {
        0x09 => "signed bytes",
        0x0b => "16-bit integers",
        0x0c => "32-bit integers",
        0x0d => "32-bit floats",
        0x0e => "64-bit floats",
        _ => "of a type that the format does not know",
    }
}

/// A guess, from its first bytes, at what was given in place of an IDX file.
fn what_it_may_be(magic: &[u8; 4]) -> &'static str {
    match magic {
        b"\x93NUM" => "It looks like a NumPy .npy file: load it with numpy.load and pass the array.",
        b"PK\x03\x04" => "It looks like a zip or .npz file: unpack it first.",
        b"\x89PNG" => "It looks like a PNG picture: give the folder of pictures instead.",
        [b'<', ..] => "It looks like a web page, so the download probably failed: get the file again.",
        [0x1f, 0x8b, ..] => "It looks like gzip inside gzip: unpack it once.",
        _ => "Check that this is the right file.",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{write::GzEncoder, Compression};
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn idx(dimensions: &[u32], content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, UNSIGNED_BYTE, dimensions.len() as u8];
        bytes.extend(dimensions.iter().flat_map(|d| d.to_be_bytes()));
        bytes.extend(content);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_bytes(bytes: &[u8]) -> Result<ArrayD<u8>> {
        let mut file = tempfile::Builder::new().prefix("some-images").tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read(file.path())
    }

    /// The message of the format error that reading `bytes` must give, which must name the file.
    fn complaint(bytes: &[u8]) -> String {
        let error = read_bytes(bytes).expect_err("this must not be read");
        assert!(matches!(error, Error::Format { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("some-images"), "{message}");
        message
    }

    #[track_caller]
    fn complains(bytes: &[u8], parts: &[&str]) {
        let message = complaint(bytes);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }

    #[test]
    fn reads_plain_and_gzip_in_one_to_four_dimensions() {
        let content: Vec<u8> = (0..24).collect();
        for dimensions in [&[24][..], &[4, 6], &[2, 3, 4], &[2, 2, 2, 3]] {
            let bytes = idx(dimensions, &content);
            for stored in [bytes.clone(), gzip(&bytes)] {
                let array = read_bytes(&stored).unwrap();
                assert!(array.shape().iter().map(|&d| d as u32).eq(dimensions.iter().copied()));
                assert!(array.iter().eq(&content));
            }
        }
    }

    #[test]
    fn reads_gzip_of_several_members() {
        let bytes = idx(&[6], &[1, 2, 3, 4, 5, 6]);
        let stored = [gzip(&bytes[..3]), gzip(&[]), gzip(&bytes[3..9]), gzip(&bytes[9..])].concat();
        assert_eq!(read_bytes(&stored).unwrap().as_slice().unwrap(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_missing_file_or_a_folder_is_a_file_error() {
        let folder = tempfile::tempdir().unwrap();
        match read(&folder.path().join("nothing")) {
            Err(Error::File { path, source }) => {
                assert!(path.ends_with("nothing"));
                assert_eq!(source.kind(), io::ErrorKind::NotFound);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(read(folder.path()), Err(Error::File { .. })));
    }

    #[test]
    fn empty_and_tiny_files() {
        complains(&[], &["only 0 bytes", "at least 8", "again"]);
        complains(&[0, 0, 8], &["only 3 bytes"]);
        complains(&gzip(&[]), &["only 0 bytes once unpacked"]);
        complains(&[0, 0, 8, 3, 0, 0, 0], &["ends inside its header", "7 of 16 bytes"]);
    }

    #[test]
    fn other_kinds_of_file_are_guessed() {
        complains(b"\x93NUMPY\x01\x00 and more", &["93 4e 55 4d", "00 00 08", ".npy"]);
        complains(b"<!DOCTYPE html><html>", &["web page"]);
        complains(b"PK\x03\x04 and more", &["zip"]);
        complains(b"\x89PNG\r\n\x1a\n", &["PNG"]);
        complains(b"just some words", &["right file"]);
        complains(&gzip(&gzip(&idx(&[1], &[1]))), &["gzip inside gzip"]);
    }

    #[test]
    fn other_element_types_are_named() {
        let mut bytes = idx(&[2], &[0; 8]);
        for (code, name) in
            [(0x09, "signed bytes"), (0x0c, "32-bit integers"), (0x0d, "32-bit floats"), (7, "not know")]
        {
            bytes[2] = code;
            complains(&bytes, &[name, "unsigned bytes", "Convert"]);
        }
    }

    #[test]
    fn wrong_numbers_of_dimensions() {
        complains(&idx(&[], &[0; 8]), &["0 dimensions", "1 to 4"]);
        complains(&idx(&[1, 1, 1, 1, 1], &[0]), &["5 dimensions", "1 to 4"]);
    }

    #[test]
    fn a_dimension_of_zero() {
        complains(&idx(&[0, 28, 28], &[]), &["[0, 28, 28]", "dimension 0 is zero", "nothing"]);
        complains(&idx(&[u32::MAX, u32::MAX, u32::MAX, 0], &[]), &["dimension 3 is zero"]);
    }

    #[test]
    fn truncated_and_too_long_plain_files() {
        complains(&idx(&[2, 3], &[0; 5]), &["truncated", "[2, 3]", "6 bytes", "5 are there"]);
        complains(&idx(&[2, 3], &[0; 7]), &["goes on", "6 bytes"]);
    }

    #[test]
    fn truncated_and_too_long_gzip_files() {
        complains(&gzip(&idx(&[2, 3], &[0; 5])), &["truncated", "5 are there"]);
        complains(&gzip(&idx(&[2, 3], &[0; 7])), &["goes on"]);
        let whole = gzip(&idx(&[100], &(0..100).collect::<Vec<u8>>()));
        for length in [2, 5, 12, 40, whole.len() - 9, whole.len() - 1] {
            complains(&whole[..length], &["gzip data is truncated"]);
        }
    }

    #[test]
    fn corrupt_gzip() {
        let whole = gzip(&idx(&[100], &(0..100).collect::<Vec<u8>>()));
        let mut checksum = whole.clone();
        checksum[whole.len() - 6] ^= 1;
        complains(&checksum, &["gzip data is corrupt", "again"]);
        complains(&[&whole[..], b"rubbish after the end"].concat(), &["gzip data is corrupt"]);
        complains(&[&whole[..10], &[0xff; 40]].concat(), &["gzip data is corrupt"]);
    }

    #[test]
    fn a_huge_claim_is_refused_before_allocating() {
        // Each of these would need far more memory than there is, or overflows.
        let product = [u32::MAX, u32::MAX, u32::MAX, u32::MAX];
        for dimensions in [&product[..], &[u32::MAX], &[1 << 16, 1 << 16], &[(1 << 31) + 1]] {
            for bytes in [idx(dimensions, &[0; 9]), gzip(&idx(dimensions, &[0; 9]))] {
                complains(&bytes, &["more than the 2147483648 bytes"]);
            }
        }
        // Within the limit, but not for a file of this size.
        for bytes in [idx(&[1 << 31], &[0; 9]), gzip(&idx(&[1 << 31], &[0; 9]))] {
            complains(&bytes, &["2147483648 bytes", "holds at most", "truncated"]);
        }
    }

    #[test]
    fn a_gzip_bomb_is_not_expanded() {
        // 16 MiB of zeros behind a header that announces ten bytes. The reader counts what is drawn from it.
        struct Counter<R>(R, u64);
        impl<R: Read> Read for &mut Counter<R> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.0.read(buffer)?;
                self.1 += n as u64;
                Ok(n)
            }
        }
        let bomb = gzip(&idx(&[10], &vec![0; 16 << 20]));
        complains(&bomb, &["goes on after the 10 bytes"]);
        let mut counter = Counter(MultiGzDecoder::new(&bomb[..]), 0);
        let source = Source { path: Path::new("bomb"), gzip: true, fillable: None, reader: &mut counter };
        assert!(source.read().is_err());
        assert_eq!(counter.1, 8 + 10 + 1);
    }

    #[test]
    fn random_and_damaged_bytes_never_panic() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let plain = idx(&[3, 4, 5], &(0..60).collect::<Vec<u8>>());
        let packed = gzip(&plain);
        for round in 0..4000 {
            let mut bytes = match round % 3 {
                0 => vec![0; random.next_u32() as usize % 64],
                1 => plain.clone(),
                _ => packed.clone(),
            };
            if round % 3 == 0 {
                random.fill_bytes(&mut bytes);
                // Let half of them get past the first checks.
                let good: &[u8] = if round % 2 == 0 { &[0, 0, 8] } else { &[0x1f, 0x8b, 8, 0] };
                bytes.iter_mut().zip(good).for_each(|(byte, &value)| *byte = value);
            } else {
                let place = random.next_u32() as usize % bytes.len();
                bytes[place] ^= 1 << (random.next_u32() % 8);
            }
            if let Ok(array) = read_bytes(&bytes) {
                assert!(array.len() <= bytes.len() * MAX_GZIP_RATIO as usize);
            }
        }
    }
}
