//! Named tensors and text as the bytes of a safetensors file: what models and the states of runs have in common.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensorError};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// How numbers are told there.
const KINDS: [(Kind, Dtype); 7] = [
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
    (Kind::Half, Dtype::F16),
    (Kind::Int64, Dtype::I64),
    (Kind::Int, Dtype::I32),
    (Kind::Int16, Dtype::I16),
    (Kind::Uint8, Dtype::U8),
];

/// Bytes that tell the length of the header.
const LENGTH: usize = 8;

/// A file to be: what stands before the tensors, and these, whose memory is the rest of it. The same bytes each time.
pub struct Packed {
    head: Vec<u8>,
    /// Dense and on the CPU.
    tensors: Vec<Tensor>,
}

impl Packed {
    /// With `metadata` in its header. Tensors that are dense and on the CPU are not copied: what is written is what they hold
    /// then.
    pub fn new(
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        metadata: HashMap<String, String>,
    ) -> Result<Self> {
        let told = tensors.into_iter().map(|(name, tensor)| {
            let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
            let kind = tensor.f_kind()?;
            let dtype = KINDS.iter().find(|(known, _)| *known == kind).map(|(_, dtype)| *dtype);
            let dtype = dtype.ok_or_else(|| Error::Argument(format!("{name} has type {kind:?}")))?;
            Ok((dtype, name, tensor))
        });
        let mut told: Vec<(Dtype, String, Tensor)> = told.collect::<Result<_>>()?;
        // As the library has it, so that each lies where numbers of its type may.
        told.sort_by(|(a_type, a_name, _), (b_type, b_name, _)| b_type.cmp(a_type).then(a_name.cmp(b_name)));
        let (mut begin, mut infos, mut tensors) = (0, vec![], vec![]);
        for (dtype, name, tensor) in told {
            let end = begin + bytes_of(&tensor)?;
            let shape = tensor.size().into_iter().map(|size| size as usize).collect();
            infos.push((name, TensorInfo { dtype, shape, data_offsets: (begin, end) }));
            tensors.push(tensor);
            begin = end;
        }
        Ok(Packed { head: head(infos, metadata).map_err(|e| Error::Argument(e.to_string()))?, tensors })
    }

    /// Bytes of the file.
    pub fn length(&self) -> Result<usize> {
        self.tensors.iter().try_fold(self.head.len(), |sum, tensor| Ok(sum + bytes_of(tensor)?))
    }

    /// The file, one piece after the other, up to the first that is not taken.
    pub fn pieces<E: From<Error>>(
        &self,
        mut take: impl FnMut(&[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        take(&self.head)?;
        self.tensors.iter().filter(|tensor| tensor.numel() > 0).try_for_each(|tensor| {
            let start = tensor.data_ptr() as *const u8;
            // SAFETY: the tensor is on the CPU and dense, so that all these bytes are its elements, and it lives until
            // after the call.
            take(unsafe { std::slice::from_raw_parts(start, bytes_of(tensor)?) })
        })
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.length()?);
        self.pieces(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, Error>(())
        })?;
        Ok(bytes)
    }
}

/// Such a file, of which bytes are read where they are needed.
pub struct Unpacking<P> {
    header: Metadata,
    /// Bytes before those of the tensors.
    before: usize,
    piece: P,
}

impl<B: AsRef<[u8]>, P: FnMut(Range<usize>) -> Result<B>> Unpacking<P> {
    /// `piece` gives bytes of the file, which has `length` of them.
    pub fn new(length: usize, mut piece: P) -> Result<Self> {
        let wrong = |e: SafeTensorError| Error::Argument(e.to_string());
        if length < LENGTH {
            return Err(wrong(SafeTensorError::HeaderTooSmall));
        }
        let told = piece(0..LENGTH)?.as_ref().try_into().map(u64::from_le_bytes);
        let told = told.ok().and_then(|told| usize::try_from(told).ok()?.checked_add(LENGTH));
        let before = told.filter(|before| *before <= length);
        let before = before.ok_or_else(|| wrong(SafeTensorError::InvalidHeaderLength))?;
        let header: Metadata = serde_json::from_slice(piece(LENGTH..before)?.as_ref())
            .map_err(|e| wrong(SafeTensorError::InvalidHeaderDeserialization(e)))?;
        match before.checked_add(header.data_len()) {
            Some(end) if end == length => Ok(Unpacking { header, before, piece }),
            _ => Err(wrong(SafeTensorError::MetadataIncompleteBuffer)),
        }
    }

    /// An entry of its metadata.
    pub fn entry(&self, name: &str) -> Option<&str> {
        Some(self.header.metadata().as_ref()?.get(name)?)
    }

    /// Of its tensors, in their order in the file.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    pub fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let info = self.header.info(name).ok_or_else(|| Error::Argument(format!("there is no {name}")))?;
        let (begin, end) = info.data_offsets;
        let bytes = (self.piece)(self.before + begin..self.before + end)?;
        let view = TensorView::new(info.dtype, info.shape.clone(), bytes.as_ref());
        unpacked(name, &view.map_err(|e| Error::Argument(format!("{name}: {e}")))?)
    }
}

/// How many a tensor takes.
fn bytes_of(tensor: &Tensor) -> Result<usize> {
    Ok(tensor.numel() * tensor.f_kind()?.elt_size_in_bytes())
}

/// What stands before the tensors. The library writes metadata in another order each time, so that caches would take the same
/// model for another one.
fn head(
    tensors: Vec<(String, TensorInfo)>,
    metadata: HashMap<String, String>,
) -> std::result::Result<Vec<u8>, SafeTensorError> {
    let mut entries = serde_json::to_value(Metadata::new(Some(metadata), tensors)?)?;
    entries.sort_all_objects();
    let mut told = serde_json::to_vec(&entries)?;
    told.resize(told.len().next_multiple_of(8), b' ');
    Ok([&(told.len() as u64).to_le_bytes()[..], &told].concat())
}

/// A tensor of such a file, copied.
pub fn unpacked(name: &str, view: &TensorView) -> Result<Tensor> {
    let kind = KINDS.iter().find(|(_, dtype)| *dtype == view.dtype()).map(|(kind, _)| *kind);
    let kind = kind.ok_or_else(|| Error::Argument(format!("{name} has type {:?}", view.dtype())))?;
    let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}
