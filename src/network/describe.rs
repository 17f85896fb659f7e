//! The reader that describes a network: shape inference with errors that name the layer, and parameter counts.

use std::fmt;

use super::tensors::{own_tensors, Init};
use super::{Conv2d, Gate, Layer, Network, Residual, MOST_NUMBERS};
use crate::error::{Error, Result};

/// Shape of one example without the batch dimension: (channels, height, width), or (features,).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(pub Vec<i64>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0.as_slice() {
            [single] => write!(f, "({single},)"),
            sizes => write!(f, "({})", sizes.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// What is known of one layer once the input's shape is known.
#[derive(Clone, Debug)]
pub struct Row {
    /// As in a `state_dict`: `4.body.2`.
    pub path: String,
    /// How many residual blocks and gates the layer lies in.
    pub depth: usize,
    pub layer: String,
    pub output: Shape,
    /// Trained values, of this layer alone; a residual block or a gate itself has none.
    pub parameters: i64,
    /// Batch norm's running means and variances (its step counter is not counted, as in Keras).
    pub statistics: i64,
}

/// The most channels or features that are accepted: far above anything trainable.
const LARGEST_SIZE: i64 = 1 << 20;

const LARGEST_PADDING: i64 = 1 << 10;

/// The most weights of one layer: 4 GiB of float32.
const MOST_WEIGHTS: i128 = 1 << 30;

/// Follows `input` through the network: one row per layer, in forward order.
pub fn describe(network: &Network, input: &Shape) -> Result<Vec<Row>> {
    let mut walk = Walk { network: &network.name, rows: Vec::new() };
    walk.layers(&network.layers, "", 0, input.clone())?;
    Ok(walk.rows)
}

struct Walk<'a> {
    network: &'a str,
    rows: Vec<Row>,
}

impl Walk<'_> {
    fn layers(&mut self, layers: &[Layer], prefix: &str, depth: usize, input: Shape) -> Result<Shape> {
        layers.iter().enumerate().try_fold(input, |shape, (index, layer)| {
            self.layer(layer, &format!("{prefix}{index}"), depth, shape)
        })
    }

    fn layer(&mut self, layer: &Layer, path: &str, depth: usize, input: Shape) -> Result<Shape> {
        let row = self.rows.len();
        self.rows.push(Row {
            path: path.to_string(),
            depth,
            layer: match layer.inner().is_empty() {
                true => layer.to_string(),
                false => layer.kind().to_string(),
            },
            output: input.clone(),
            parameters: 0,
            statistics: 0,
        });
        let output = match layer {
            Layer::Residual(block) => self.residual(block, path, depth, input)?,
            Layer::Gate(gate) => self.gate(gate, path, depth, input)?,
            simple => {
                let output = output_shape(simple, &input).and_then(bounded);
                output.map_err(|problem| self.error(path, layer, &input, problem))?
            }
        };
        for spec in own_tensors(layer, "") {
            match (spec.trainable, spec.init) {
                (true, _) => self.rows[row].parameters += spec.numel(),
                (false, Init::Counter) => {}
                (false, _) => self.rows[row].statistics += spec.numel(),
            }
        }
        self.rows[row].output = output.clone();
        Ok(output)
    }

    fn residual(&mut self, block: &Residual, path: &str, depth: usize, input: Shape) -> Result<Shape> {
        let body = self.layers(&block.body, &format!("{path}.body."), depth + 1, input.clone())?;
        let shortcut =
            self.layers(&block.shortcut, &format!("{path}.shortcut."), depth + 1, input.clone())?;
        if body == shortcut {
            return Ok(body);
        }
        let layer = Layer::Residual(Residual { body: vec![], shortcut: vec![], activation: None });
        let hint = if block.shortcut.is_empty() {
            "Give the block a shortcut, such as a 1×1 convolution with the body's stride and channels."
        } else {
            "Change the shortcut's stride or channels to the body's."
        };
        let needs = format!("a body and a shortcut of equal output, and they give {body} and {shortcut}");
        Err(self.error(path, &layer, &input, Problem { needs, hint: hint.to_string() }))
    }

    fn gate(&mut self, gate: &Gate, path: &str, depth: usize, input: Shape) -> Result<Shape> {
        let body = self.layers(&gate.body, &format!("{path}.body."), depth + 1, input.clone())?;
        let channels = input.0[0];
        let hint = match body.0[..] {
            [one] | [one, 1, 1] if one == channels => return Ok(input),
            [_] | [_, 1, 1] => {
                format!("End the body with {channels} outputs, as Linear(..., {channels}) has.")
            }
            _ => format!(
                "Pool the map in the body, as GlobalAvgPool() does, and end it with {channels} numbers."
            ),
        };
        let layer = Layer::Gate(Gate { body: vec![] });
        let needs = format!(
            "a body that gives one number for each of {channels} channels, ({channels},) or ({channels}, 1, 1), and it \
             gives {body}"
        );
        Err(self.error(path, &layer, &input, Problem { needs, hint }))
    }

    fn error(&self, path: &str, layer: &Layer, input: &Shape, problem: Problem) -> Error {
        Error::Layer {
            network: self.network.to_string(),
            layer: format!("{path} ({})", layer.kind()),
            arrives: input.to_string(),
            needs: problem.needs,
            hint: problem.hint,
        }
    }
}

/// Why a layer cannot take a shape.
struct Problem {
    needs: String,
    hint: String,
}

fn needs<T>(needs: impl Into<String>, hint: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { needs: needs.into(), hint: hint.into() })
}

fn bounded(output: Shape) -> Result<Shape, Problem> {
    match output.0.iter().map(|size| i128::from(*size)).product::<i128>() {
        numbers if numbers > MOST_NUMBERS => needs(
            format!("to give at most {MOST_NUMBERS} numbers for an image, and it gives {numbers}, {output}"),
            "Use fewer channels, less padding, or more stride or pooling before it.",
        ),
        _ => Ok(output),
    }
}

fn image(input: &Shape) -> Result<(i64, i64, i64), Problem> {
    match input.0[..] {
        [channels, height, width] => Ok((channels, height, width)),
        _ => {
            needs("an image (channels, height, width)", "Place this layer before Flatten or global pooling.")
        }
    }
}

fn output_shape(layer: &Layer, input: &Shape) -> Result<Shape, Problem> {
    Ok(match layer {
        Layer::Conv2d(conv) => {
            let (channels, height, width) = image(input)?;
            if channels != conv.in_channels {
                return needs(
                    format!("({}, height, width)", conv.in_channels),
                    format!("Set in_channels={channels}, or change the layers before it."),
                );
            }
            let Conv2d { kernel_size, stride, padding, dilation, .. } = conv;
            let map = slide([height, width], *kernel_size, *stride, *padding, *dilation)?;
            // oneDNN reads beside the map there.
            if let Some(axis) = conv.meets([height, width]).iter().position(|meets| !meets) {
                return needs(
                    format!(
                        "pixels that the kernel meets, and along the {} it meets only padding",
                        ["height", "width"][axis]
                    ),
                    "Use less padding, stride or dilation.",
                );
            }
            Shape(vec![conv.out_channels, map[0], map[1]])
        }
        Layer::MaxPool2d(pool) | Layer::AvgPool2d(pool) => {
            let (channels, height, width) = image(input)?;
            let [height, width] =
                slide([height, width], pool.kernel_size, pool.stride, pool.padding, [1, 1])?;
            Shape(vec![channels, height, width])
        }
        Layer::AdaptiveAvgPool2d(pool) => {
            let [height, width] = pool.output_size;
            Shape(vec![image(input)?.0, height, width])
        }
        Layer::BatchNorm1d(norm) => {
            let (needed, fits) = (norm.num_features, format!("({},)", norm.num_features));
            match input.0[..] {
                [features] if features == needed => input.clone(),
                [features] => return needs(fits, format!("Set num_features={features}.")),
                _ => {
                    return needs(
                        fits,
                        "Place it after Flatten or global pooling, or use BatchNorm2d for images.",
                    )
                }
            }
        }
        Layer::BatchNorm2d(norm) => {
            let (channels, ..) = image(input)?;
            if channels != norm.num_features {
                return needs(
                    format!("({}, height, width)", norm.num_features),
                    format!("Set num_features={channels}."),
                );
            }
            input.clone()
        }
        Layer::GlobalAvgPool | Layer::GlobalMaxPool => Shape(vec![image(input)?.0]),
        Layer::Flatten => Shape(vec![input.0.iter().product()]),
        Layer::Linear(linear) => {
            let arrives = input.0.iter().product::<i64>();
            if input.0.len() != 1 {
                let also = match arrives == linear.in_features {
                    true => String::new(),
                    false => format!(" and set in_features={arrives}"),
                };
                return needs(format!("({},)", linear.in_features), format!("Put Flatten before it{also}."));
            }
            if arrives != linear.in_features {
                return needs(
                    format!("({},)", linear.in_features),
                    format!("Set in_features={arrives}, or change what is flattened before it."),
                );
            }
            Shape(vec![linear.out_features])
        }
        Layer::Dropout2d(_) => {
            image(input)?;
            input.clone()
        }
        Layer::Activation(_)
        | Layer::Dropout(_)
        | Layer::StochasticDepth(_)
        | Layer::Residual(_)
        | Layer::Gate(_) => input.clone(),
    })
}

/// Height and width after a window has slid over the padded image.
fn slide(
    size: [i64; 2],
    kernel: [i64; 2],
    stride: [i64; 2],
    padding: [i64; 2],
    dilation: [i64; 2],
) -> Result<[i64; 2], Problem> {
    let mut output = [0; 2];
    for axis in 0..2 {
        let window = dilation[axis] * (kernel[axis] - 1) + 1;
        let padded = size[axis] + 2 * padding[axis];
        if padded < window {
            return needs(
                format!("at least {} pixels in {}", window - 2 * padding[axis], ["height", "width"][axis]),
                "Use a smaller kernel, more padding, larger images, or less stride and pooling before it.",
            );
        }
        output[axis] = (padded - window) / stride[axis] + 1;
    }
    Ok(output)
}

/// Checks the values that a layer was given, before any shape is known.
pub fn check(layer: &Layer) -> Result<()> {
    let positive = |what: &str, values: &[i64]| match values.iter().find(|v| !(1..=LARGEST_SIZE).contains(*v))
    {
        Some(value) => Err(Error::Argument(format!(
            "{}: {what} is {value}, and must lie between 1 and {LARGEST_SIZE}",
            layer.kind()
        ))),
        None => Ok(()),
    };
    let wrong = |message: String| Err(Error::Argument(format!("{}: {message}", layer.kind())));
    let affordable = |sizes: &[i64]| match sizes.iter().map(|size| i128::from(*size)).product::<i128>() {
        weights if weights > MOST_WEIGHTS => wrong(format!(
            "{weights} weights take more memory than a layer may: at most {MOST_WEIGHTS}, 4 GiB of float32"
        )),
        _ => Ok(()),
    };
    match layer {
        Layer::Conv2d(c) => {
            positive("in_channels", &[c.in_channels])?;
            positive("out_channels", &[c.out_channels])?;
            positive("kernel_size", &c.kernel_size)?;
            positive("stride", &c.stride)?;
            positive("dilation", &c.dilation)?;
            positive("groups", &[c.groups])?;
            if c.padding.iter().any(|p| !(0..=LARGEST_PADDING).contains(p)) {
                return wrong(format!(
                    "padding is {:?}, and must lie between 0 and {LARGEST_PADDING}",
                    c.padding
                ));
            }
            if c.in_channels % c.groups != 0 || c.out_channels % c.groups != 0 {
                return wrong(format!(
                    "groups={} must divide in_channels={} and out_channels={}",
                    c.groups, c.in_channels, c.out_channels
                ));
            }
            affordable(&[c.out_channels, c.in_channels / c.groups, c.kernel_size[0], c.kernel_size[1]])?;
        }
        Layer::MaxPool2d(p) | Layer::AvgPool2d(p) => {
            positive("kernel_size", &p.kernel_size)?;
            positive("stride", &p.stride)?;
            if (0..2).any(|axis| p.padding[axis] < 0 || p.padding[axis] > p.kernel_size[axis] / 2) {
                return wrong(format!(
                    "padding is {:?}, and must lie between 0 and half of kernel_size {:?}",
                    p.padding, p.kernel_size
                ));
            }
        }
        Layer::AdaptiveAvgPool2d(p) => positive("output_size", &p.output_size)?,
        Layer::BatchNorm1d(b) | Layer::BatchNorm2d(b) => {
            positive("num_features", &[b.num_features])?;
            if !(b.eps > 0.0 && b.eps.is_finite()) {
                return wrong(format!("eps is {}, and must be a number above 0", b.eps));
            }
            if !(0.0..=1.0).contains(&b.momentum) {
                return wrong(format!("momentum is {}, and must lie in [0, 1]", b.momentum));
            }
        }
        Layer::Linear(l) => {
            positive("in_features", &[l.in_features])?;
            positive("out_features", &[l.out_features])?;
            affordable(&[l.in_features, l.out_features])?;
        }
        Layer::Dropout(d) | Layer::Dropout2d(d) | Layer::StochasticDepth(d) => {
            if !(0.0..1.0).contains(&d.p) {
                return wrong(format!("p is {}, and must lie in [0, 1)", d.p));
            }
        }
        Layer::Residual(Residual { body, .. }) | Layer::Gate(Gate { body }) => {
            if body.is_empty() {
                return wrong("the body is empty: give it at least one layer".to_string());
            }
        }
        Layer::Activation(_) | Layer::GlobalAvgPool | Layer::GlobalMaxPool | Layer::Flatten => {}
    }
    layer.inner().into_iter().flat_map(|(_, layers)| layers).try_for_each(check)
}

#[cfg(test)]
mod tests {
    use super::super::{Activation, AdaptivePool2d, BatchNorm, Linear, Pool2d};
    use super::*;

    fn shapes(layers: Vec<Layer>, input: [i64; 3]) -> Result<Vec<String>> {
        let network = Network { name: "test".to_string(), input_shape: input, layers };
        Ok(describe(&network, &Shape(input.to_vec()))?
            .into_iter()
            .map(|row| row.output.to_string())
            .collect())
    }

    // torch 2.11: nn.Conv2d(1, 8, 7, 2, 3)(x).shape and nn.MaxPool2d(3, 2, 1)(y).shape for x of (1, 1, 28, 30)
    #[test]
    fn sizes_are_pytorchs() {
        let layers = vec![
            Layer::Conv2d(Conv2d::new(1, 8, 7).stride(2).padding(3)),
            Layer::MaxPool2d(Pool2d::new(3, 2, 1)),
        ];
        assert_eq!(shapes(layers, [1, 28, 30]).unwrap(), ["(8, 14, 15)", "(8, 7, 8)"]);
    }

    #[test]
    fn an_adaptive_pool_gives_the_size_that_it_has() {
        let pool = |size| Layer::AdaptiveAvgPool2d(AdaptivePool2d { output_size: size });
        assert_eq!(
            shapes(vec![pool([3, 50]), pool([7, 7])], [4, 9, 2]).unwrap(),
            ["(4, 3, 50)", "(4, 7, 7)"]
        );
        assert!(shapes(vec![Layer::Flatten, pool([1, 1])], [4, 9, 2])
            .unwrap_err()
            .to_string()
            .contains("an image"));
        assert!(check(&pool([0, 3])).unwrap_err().to_string().contains("output_size is 0"));
    }

    // 2^16 channels of 16² pixels are 2^24 numbers; 17² are more.
    #[test]
    fn a_map_that_is_too_large_is_refused_with_its_size() {
        let conv = || Layer::Conv2d(Conv2d::new(1, 1 << 16, 1));
        assert!(shapes(vec![conv()], [1, 16, 16]).is_ok());
        let error = shapes(vec![conv()], [1, 17, 17]).unwrap_err().to_string();
        assert!(error.contains("18939904") && error.contains("0 (Conv2d)"), "{error}");
        let pads = vec![Layer::Conv2d(Conv2d::new(1, 1, 1).padding(1024)); 100];
        assert!(shapes(pads, [1, 8, 8]).unwrap_err().to_string().contains("at most 16777216"));
    }

    #[test]
    fn a_wrong_flatten_is_named_with_both_shapes() {
        let layers =
            vec![Layer::MaxPool2d(Pool2d::new(2, 2, 0)), Layer::Flatten, Layer::Linear(Linear::new(400, 10))];
        let error = shapes(layers, [1, 28, 28]).unwrap_err().to_string();
        for part in ["2 (Linear)", "(196,)", "(400,)", "in_features=196"] {
            assert!(error.contains(part), "{part} is missing: {error}");
        }
    }

    #[test]
    fn batch_norm_of_vectors_wants_a_vector_of_its_size() {
        let norm = || Layer::BatchNorm1d(BatchNorm::new(4));
        assert_eq!(shapes(vec![Layer::GlobalAvgPool, norm()], [4, 5, 5]).unwrap()[1], "(4,)");
        let of_image = shapes(vec![norm()], [4, 5, 5]).unwrap_err().to_string();
        assert!(of_image.contains("(4, 5, 5)") && of_image.contains("BatchNorm2d"), "{of_image}");
        let of_five = shapes(vec![Layer::GlobalAvgPool, norm()], [5, 5, 5]).unwrap_err().to_string();
        assert!(of_five.contains("(5,)") && of_five.contains("num_features=5"), "{of_five}");
    }

    #[test]
    fn a_kernel_larger_than_the_image_is_refused() {
        let error = shapes(vec![Layer::Conv2d(Conv2d::new(1, 8, 11))], [1, 8, 8]).unwrap_err().to_string();
        assert!(error.contains("at least 11 pixels in height"), "{error}");
    }

    #[test]
    fn a_residual_sum_of_unequal_shapes_is_refused() {
        let body = vec![Layer::Conv2d(Conv2d::new(4, 8, 3).stride(2).padding(1))];
        let block = Residual { body, shortcut: vec![], activation: None };
        let error = shapes(vec![Layer::Residual(block)], [4, 8, 8]).unwrap_err().to_string();
        assert!(error.contains("(8, 4, 4) and (4, 8, 8)"), "{error}");
    }

    #[test]
    fn a_gate_wants_one_number_for_each_channel() {
        let gate = |layers: &[Layer]| Layer::Gate(Gate { body: layers.to_vec() });
        let [pool, flatten] = [Layer::GlobalAvgPool, Layer::Flatten];
        let one_pixel = Layer::AdaptiveAvgPool2d(AdaptivePool2d { output_size: [1, 1] });
        let linear = |outputs| Layer::Linear(Linear::new(4, outputs));
        assert_eq!(
            shapes(vec![gate(&[pool.clone(), linear(4)]), gate(std::slice::from_ref(&one_pixel))], [4, 3, 5])
                .unwrap(),
            ["(4, 3, 5)", "(4,)", "(4,)", "(4, 3, 5)", "(4, 1, 1)"]
        );
        assert!(shapes(vec![flatten.clone(), gate(&[linear(4)])], [4, 1, 1]).is_ok());
        for (body, parts) in [
            (vec![pool.clone(), linear(3)], ["it gives (3,)", "Linear(..., 4)"]),
            (vec![pool, linear(60)], ["it gives (60,)", "Linear(..., 4)"]),
            (vec![Layer::Activation(Activation::Sigmoid)], ["it gives (4, 3, 5)", "GlobalAvgPool()"]),
            (vec![flatten], ["it gives (60,)", "Linear(..., 4)"]),
        ] {
            let error = shapes(vec![gate(&body)], [4, 3, 5]).unwrap_err().to_string();
            for part in ["0 (Gate)", "(4, 3, 5)", "(4,) or (4, 1, 1)"].into_iter().chain(parts) {
                assert!(error.contains(part), "{part} is missing: {error}");
            }
        }
        assert!(check(&gate(&[])).unwrap_err().to_string().contains("body is empty"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for layer in [
            Layer::Conv2d(Conv2d::new(0, 8, 3)),
            Layer::Conv2d(Conv2d::new(1, 8, i64::MAX)),
            Layer::Conv2d(Conv2d { groups: 3, ..Conv2d::new(4, 6, 3) }),
            Layer::MaxPool2d(Pool2d::new(2, 2, 2)),
            Layer::Linear(Linear::new(-1, 10)),
            Layer::Dropout(super::super::Dropout { p: 1.0 }),
            Layer::Dropout(super::super::Dropout { p: f64::NAN }),
        ] {
            assert!(check(&layer).is_err(), "{layer}");
        }
    }
}
