//! What is checked and cut out before a run begins.

use tch::Tensor;

use crate::data::{BatchOrder, Dataset, Split};
use crate::error::{Error, Result};
use crate::network::Network;

/// The examples at `indices`; `names` begins the sentence about one that is not there.
pub fn part(split: &Split, indices: &[i64], names: &str) -> Result<Split> {
    if indices.is_empty() {
        return Err(Error::Argument(format!("{names} no image")));
    }
    if let Some(wrong) = indices.iter().find(|index| !(0..split.len()).contains(*index)) {
        return Err(Error::Argument(format!("{names} image {wrong}, and there are {}", split.len())));
    }
    split.select(&Tensor::f_from_slice(indices)?.f_to_device(split.images.device())?)
}

/// The numbers from 0 to `count` that are not among `left_out`, in ascending order.
pub fn complement(count: i64, left_out: &[i64]) -> Result<Vec<i64>> {
    let mut kept = vec![true; count as usize];
    for index in left_out {
        match kept.get_mut(*index as usize) {
            Some(place) => *place = false,
            None => {
                return Err(Error::Argument(format!(
                    "validation names training image {index}, and there are {count}"
                )))
            }
        }
    }
    Ok((0..count).filter(|index| kept[*index as usize]).collect())
}

/// Refuses weights of other classes than those of the data.
pub fn check_class_weight(weights: Option<&Vec<f64>>, classes: i64) -> Result<()> {
    match weights {
        Some(weights) if weights.len() as i64 != classes => Err(Error::Argument(format!(
            "class_weight has {} weights, and the data set has {classes} classes: give one for each",
            weights.len()
        ))),
        _ => Ok(()),
    }
}

/// Whether network, data and batches belong together, asked before anything is computed.
pub fn check_fit(network: &Network, data: &Dataset, order: &BatchOrder, steps: usize) -> Result<()> {
    let (train, test) = (data.train.image_shape(), data.test.image_shape());
    if train != test {
        return Err(Error::Data(format!("training images have shape {train:?} and test images {test:?}")));
    }
    network.check_images("the images of the data set have shape", train)?;
    let (gives, has) = (network.num_classes()?, data.classes);
    if gives != has {
        return Err(Error::Argument(format!(
            "network {:?} gives {gives} logits, and the data set has {has} classes: build the network with \
             num_classes={has}, or name all {gives} classes of the data set",
            network.name
        )));
    }
    let rows = network.rows()?;
    // A row of layer "BatchNorm1d(8)" with output (8,), or "BatchNorm2d(8)" with output (8, 1, 1).
    let single = rows
        .iter()
        .find(|row| row.layer.starts_with("BatchNorm") && row.output.0[1..].iter().all(|size| *size == 1));
    match single {
        Some(row) if order.smallest_batch(steps) == 1 => Err(Error::Argument(format!(
            "the last batch of an epoch holds one image, and layer {} ({}) of network {:?} sees one number of it in \
             each channel: there is no variance to normalise by. Choose another batch_size.",
            row.path,
            row.layer.split('(').next().unwrap_or_default(),
            network.name
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_a_weight() {
        assert!(check_class_weight(None, 3).is_ok() && check_class_weight(Some(&vec![1.0; 3]), 3).is_ok());
        let error = check_class_weight(Some(&vec![1.0; 2]), 3).unwrap_err().to_string();
        assert!(error.contains("has 2 weights, and the data set has 3 classes"), "{error}");
    }

    #[test]
    fn what_is_left_out_is_gone() {
        assert_eq!(complement(5, &[1, 3]).unwrap(), [0, 2, 4]);
        assert!(complement(5, &[5]).is_err() && complement(5, &[-1]).is_err());
    }
}
