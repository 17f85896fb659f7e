//! A model in one safetensors file: the tensors, and the layer tree (with the shape of the images), normalisation,
//! names of the classes and background of see-through pictures as JSON in the metadata. There is a checksum too: that
//! of the whole file with zeros in the checksum's place. Files of earlier versions have none.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Crc;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use super::tensor_file::{unpacked, Packed};
use super::{tensor_specs, Model, Network, Normalization, TensorSpec};
use crate::error::{Error, Result};

const NETWORK: &str = "everybatch.network";
const NORMALIZATION: &str = "everybatch.normalization";
const CLASSES: &str = "everybatch.classes";
const BACKGROUND: &str = "everybatch.background";
const CHECKSUM: &str = "everybatch.crc32";
const UNSEALED: &str = "00000000";

impl Model {
    /// Writes the file whole or not at all. Only a model, or an empty file, is replaced.
    pub fn save(&self, path: &Path) -> Result<()> {
        refuse_what_is_no_model(path)?;
        let bytes = self.to_bytes().map_err(|error| match error {
            Error::Argument(message) => Error::Format { path: path.to_path_buf(), message },
            other => other,
        })?;
        write_whole(path, &bytes).map_err(|source| Error::File { path: path.to_path_buf(), source })
    }

    /// What `save` writes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut metadata = HashMap::from([
            ("format".to_string(), "pt".to_string()),
            (NETWORK.to_string(), self.network.to_json()),
            (CHECKSUM.to_string(), UNSEALED.to_string()),
        ]);
        if let Some(normalization) = &self.normalization {
            metadata.insert(NORMALIZATION.to_string(), json(normalization)?);
        }
        if let Some(classes) = self.classes() {
            metadata.insert(CLASSES.to_string(), json(&classes)?);
        }
        if let Some(background) = &self.background {
            metadata.insert(BACKGROUND.to_string(), json(background)?);
        }
        let mut bytes = Packed::new(self.state_dict()?, metadata)?.to_bytes()?;
        let place = checksum_place(&bytes)
            .ok_or_else(|| Error::Argument("its checksum found no place".to_string()))?;
        let sum = checksum(&bytes, place);
        bytes[place..place + UNSEALED.len()].copy_from_slice(sum.as_bytes());
        Ok(bytes)
    }

    /// Reads what `save` wrote, onto the CPU.
    pub fn load(path: &Path) -> Result<Model> {
        let file = |source| Error::File { path: path.to_path_buf(), source };
        let kind = fs::metadata(path).map_err(file)?;
        if !kind.is_file() && !kind.is_dir() {
            // A pipe would be waited for, and a device may never end.
            let message = "this is not a plain file, which a model is read from".to_string();
            return Err(Error::Format { path: path.to_path_buf(), message });
        }
        let bytes = fs::read(path).map_err(file)?;
        // What is wrong is the file, whatever the layers or tensors in it complain of.
        Model::from_bytes(&bytes)
            .map_err(|error| Error::Format { path: path.to_path_buf(), message: error.to_string() })
    }

    /// Reads what `to_bytes` made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Model> {
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|e| Error::Argument(format!("this is not a whole safetensors file ({e})")))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let network = metadata.get(NETWORK).ok_or_else(|| {
            Error::Argument(format!(
                "this safetensors file holds no layer tree ({NETWORK:?} is not in its metadata), so it was not \
                 written by Model.save. Build the network and use load_state_dict instead."
            ))
        })?;
        if let (Some(sum), Some(place)) = (metadata.get(CHECKSUM), checksum_place(bytes)) {
            if *sum != checksum(bytes, place) {
                return Err(Error::Argument(format!(
                    "its checksum is not that of its content: it is damaged, or was changed by another program, which \
                     would have to leave {CHECKSUM:?} out of the metadata. Get or save it again."
                )));
            }
        }
        let network = Network::from_json(network)?;
        let values: i64 = tensor_specs(&network.layers).iter().map(TensorSpec::numel).sum();
        if values * 4 > bytes.len() as i64 {
            return Err(Error::Argument(format!(
                "its layers need {values} values, more than the file holds"
            )));
        }
        let mut model = Model::initialize(network, 0)?;
        if let Some(text) = metadata.get(NORMALIZATION) {
            let read: Normalization = serde_json::from_str(text)
                .map_err(|e| Error::Argument(format!("its normalisation is unreadable: {e}")))?;
            model.set_normalization(Some(Normalization::new(read.mean, read.std)?))?;
        }
        if let Some(text) = metadata.get(CLASSES) {
            let read: Vec<String> = serde_json::from_str(text)
                .map_err(|e| Error::Argument(format!("the names of its classes are unreadable: {e}")))?;
            model.set_classes(Some(read))?;
        }
        if let Some(text) = metadata.get(BACKGROUND) {
            let read = serde_json::from_str(text)
                .map_err(|e| Error::Argument(format!("the background of its pictures is unreadable: {e}")))?;
            model.background = Some(read);
        }
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::Argument(format!("this is not a whole safetensors file ({e})")))?;
        let state = file
            .iter()
            .map(|(name, view)| match view.dtype() {
                Dtype::F32 | Dtype::I64 => Ok((name.to_string(), unpacked(name, &view)?)),
                other => Err(Error::Argument(format!("{name} has dtype {other:?}, expected F32 or I64"))),
            })
            .collect::<Result<Vec<_>>>()?;
        model.load_state_dict(&state)?;
        Ok(model)
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Argument(error.to_string()))
}

/// Writes a file under a name of its own in the same folder, where nothing else writes, flushes it, renames it, and
/// flushes the name. What fails leaves nothing behind.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("this is not a file name"))?;
    let (prefix, folder) = (format!(".{}.", name.to_string_lossy()), path.parent().unwrap_or(Path::new("")));
    // `create_new` gives it the usual permissions, where tempfile's own files are for their owner alone.
    let temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".partial")
        .make_in(folder, |place| File::create_new(place))?;
    temporary.as_file().write_all(bytes)?;
    temporary.as_file().sync_all()?;
    // Not `persist`, which calls the system past libc, so that no test could make it fail.
    fs::rename(temporary.path(), path)?;
    let _ = temporary.keep(); // under its new name
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let _ = File::open(folder).and_then(|names| names.sync_all()); // not every file system can; the file is whole
    Ok(())
}

/// Where the digits of the checksum stand in a file. No name can look like that, for its quotes are escaped.
fn checksum_place(bytes: &[u8]) -> Option<usize> {
    let before = format!("{CHECKSUM:?}:\"");
    let start = bytes.windows(before.len()).position(|part| part == before.as_bytes())? + before.len();
    (start + UNSEALED.len() <= bytes.len()).then_some(start)
}

/// That of a file whose checksum is to stand at `place`, or does.
fn checksum(bytes: &[u8], place: usize) -> String {
    let mut sum = Crc::new();
    sum.update(&bytes[..place]);
    sum.update(UNSEALED.as_bytes());
    sum.update(&bytes[place + UNSEALED.len()..]);
    format!("{:08x}", sum.sum())
}

/// Refuses to replace anything but a model, which is told by its header, or an empty file.
fn refuse_what_is_no_model(path: &Path) -> Result<()> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    if found.is_dir() || (found.is_file() && (found.len() == 0 || is_model(path).unwrap_or(false))) {
        return Ok(()); // that a folder cannot be replaced, the system says itself
    }
    let what = if found.is_file() { "is not a model that was saved before" } else { "is not a plain file" };
    Err(Error::Exists(format!(
        "{} exists and {what}, so it is not replaced: choose another name",
        path.display()
    )))
}

/// Whether the header of a file is that of a model, whatever comes after it.
fn is_model(path: &Path) -> io::Result<bool> {
    const LONGEST: u64 = 100_000_000; // that of the safetensors library
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        return Ok(false);
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    let header: serde_json::Value = serde_json::from_slice(&header)?;
    Ok(header["__metadata__"][NETWORK].is_string())
}

#[cfg(test)]
mod tests {
    use super::super::builders;
    use super::*;

    fn lenet() -> Model {
        let network = builders::lenet5(&builders::Lenet5::default()).unwrap();
        let mut model = Model::initialize(network, 3).unwrap();
        model.normalization = Some(Normalization::new(vec![0.1307], vec![0.3081]).unwrap());
        model.set_classes(Some((0..10).map(|i| format!("é{i}\"")).collect())).unwrap();
        model.background = Some([0, 128, 255]);
        model
    }

    #[test]
    fn everything_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let model = lenet();
        model.save(&path).unwrap();
        let back = Model::load(&path).unwrap();
        assert_eq!(back.network, model.network);
        assert_eq!(back.normalization, model.normalization);
        assert_eq!(back.classes(), model.classes());
        assert_eq!(back.background, model.background);
        for ((name, a), (_, b)) in model.state_dict().unwrap().iter().zip(back.state_dict().unwrap()) {
            assert_eq!(*a, b, "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_model_is_the_same_bytes() {
        let first = lenet().to_bytes().unwrap();
        assert!((0..20).all(|_| lenet().to_bytes().unwrap() == first));
    }

    #[test]
    fn only_a_model_or_nothing_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        for nothing in [true, false] {
            if nothing {
                fs::write(&path, "").unwrap();
            }
            lenet().save(&path).unwrap();
        }
        for other in [&b"my thesis"[..], b"\x02\0\0\0\0\0\0\0{}", &[255; 16]] {
            fs::write(&path, other).unwrap();
            assert!(matches!(lenet().save(&path), Err(Error::Exists(_))));
            assert_eq!(fs::read(&path).unwrap(), other);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_has_the_permissions_that_files_have_and_threads_may_write_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (model, usual) = (lenet(), folder.path().join("usual"));
        fs::write(&usual, "").unwrap();
        std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| {
                let (path, model) = (&path, model.shared());
                scope.spawn(move || (0..5).try_for_each(|_| model.save(path)))
            });
            threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        assert_eq!(fs::metadata(&path).unwrap().permissions(), fs::metadata(&usual).unwrap().permissions());
        assert!(Model::load(&path).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        lenet().save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for keep in [0, 4, 100, bytes.len() - 1] {
            fs::write(&path, &bytes[..keep]).unwrap();
            assert!(matches!(Model::load(&path), Err(Error::Format { .. })), "{keep} bytes");
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let model = lenet();
        model.save(&path).unwrap();
        let good = fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        for place in (0..header).step_by(7).chain((header..good.len()).step_by(9973)) {
            let mut bytes = good.clone();
            bytes[place] ^= 1;
            fs::write(&path, &bytes).unwrap();
            // In the name of the checksum, a change leaves a file without one, and all else as it was.
            match Model::load(&path) {
                Err(error) => assert!(matches!(error, Error::Format { .. }), "byte {place}: {error}"),
                Ok(back) => {
                    let near = &good[place.saturating_sub(30)..place + 30];
                    assert!(String::from_utf8_lossy(near).contains("crc32"), "byte {place}");
                    assert_eq!(back.network, model.network);
                }
            }
        }
    }

    #[test]
    fn a_file_without_a_checksum_is_one_of_an_earlier_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        lenet().save(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let name_ends = checksum_place(&bytes).unwrap() - 4; // 2":"
        bytes[name_ends] = b'3';
        let other = bytes.len() - 1;
        bytes[other] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(Model::load(&path).is_ok());
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_file_error() {
        let path = Path::new("/no/such/folder/model.safetensors");
        assert!(matches!(lenet().save(path), Err(Error::File { .. })));
        assert!(matches!(Model::load(path), Err(Error::File { .. })));
    }
}
