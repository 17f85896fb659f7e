//! Named tensors and text as the bytes of a safetensors file: what models and the states of runs have in common.

use std::collections::HashMap;

use safetensors::tensor::{serialize, TensorView};
use safetensors::Dtype;
use serde_json::Value;
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

/// The file, with `metadata` in its header: the same bytes each time.
pub fn packed(
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>> {
    let values = tensors.into_iter().map(|(name, tensor)| {
        let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
        let kind = tensor.f_kind()?;
        let dtype = KINDS.iter().find(|(known, _)| *known == kind).map(|(_, dtype)| *dtype);
        let dtype = dtype.ok_or_else(|| Error::Argument(format!("{name} has type {kind:?}")))?;
        let mut bytes = vec![0u8; tensor.numel() * kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        let shape = tensor.size().into_iter().map(|size| size as usize).collect();
        Ok((name, dtype, shape, bytes))
    });
    let values: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = values.collect::<Result<_>>()?;
    let views = values.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        Ok((name.as_str(), view.map_err(|e| Error::Argument(format!("{name}: {e}")))?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let mut bytes = serialize(views, Some(metadata)).map_err(|e| Error::Argument(e.to_string()))?;
    sort_header(&mut bytes).map_err(|e| Error::Argument(e.to_string()))?;
    Ok(bytes)
}

/// The library writes metadata in another order each time, so that caches would take the same model for another one.
fn sort_header(bytes: &mut [u8]) -> serde_json::Result<()> {
    let Some((length, rest)) = bytes.split_first_chunk_mut() else { return Ok(()) };
    let header = &mut rest[..u64::from_le_bytes(*length) as usize];
    let mut entries: Value = serde_json::from_slice(header)?;
    entries.sort_all_objects();
    let sorted = serde_json::to_vec(&entries)?;
    header.fill(b' ');
    header[..sorted.len()].copy_from_slice(&sorted);
    Ok(())
}

/// A tensor of such a file, copied.
pub fn unpacked(name: &str, view: &TensorView) -> Result<Tensor> {
    let kind = KINDS.iter().find(|(_, dtype)| *dtype == view.dtype()).map(|(kind, _)| *kind);
    let kind = kind.ok_or_else(|| Error::Argument(format!("{name} has type {:?}", view.dtype())))?;
    let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}
