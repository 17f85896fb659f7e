use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::arguments::{ImageShape, Seed};
use super::from_python::Value;
use super::layers::PyLayer;
use super::model::PyModel;
use super::run::computing;
use crate::error::{unknown, Result};
use crate::network::{builders, check_extent, Model, Network, Normalization};

#[doc = python_doc!("Network")]
#[pyclass(name = "Network", module = "everybatch", frozen, eq)]
#[derive(Clone, PartialEq)]
pub struct PyNetwork(pub Network);

impl PyNetwork {
    /// Of pixels in [0, 1]; none at all where neither is given.
    pub fn normalization(
        &self,
        mean: Option<Vec<f64>>,
        std: Option<Vec<f64>>,
    ) -> Result<Option<Normalization>> {
        let channels = self.0.input_shape[0] as usize;
        match (mean, std) {
            (None, None) => Ok(None),
            (mean, std) => {
                let mean = mean.unwrap_or_else(|| vec![0.0; channels]);
                Normalization::new(mean, std.unwrap_or_else(|| vec![1.0; channels])).map(Some)
            }
        }
    }
}

#[pymethods]
impl PyNetwork {
    #[new]
    #[pyo3(signature = (layers, input_shape=ImageShape([1, 28, 28]), name="network"),
        text_signature = "(layers, input_shape=(1, 28, 28), name='network')")]
    fn new(layers: Vec<PyRef<PyLayer>>, input_shape: ImageShape, name: &str) -> PyResult<Self> {
        check_extent(layers.iter().map(|layer| &layer.0))?; // before they are copied
        let layers = layers.iter().map(|layer| layer.0.clone()).collect();
        Ok(PyNetwork(Network::new(name, input_shape.0, layers)?))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The layers, in forward order.
    #[getter]
    fn layers(&self) -> Vec<PyLayer> {
        self.0.layers.iter().cloned().map(PyLayer).collect()
    }

    /// (channels, height, width) of one image.
    #[getter]
    fn input_shape(&self) -> (i64, i64, i64) {
        self.0.input_shape.into()
    }

    /// Number of logits.
    #[getter]
    fn num_classes(&self) -> PyResult<i64> {
        Ok(self.0.num_classes()?)
    }

    /// Number of trained values; batch norm's statistics are not among them.
    #[getter]
    fn num_parameters(&self) -> i64 {
        self.0.num_parameters()
    }

    /// A table of layers, output shapes and parameters (with batch norm's statistics), in the manner of Keras.
    fn summary(&self) -> PyResult<String> {
        Ok(self.0.summary()?)
    }

    /// The network as a JSON object.
    fn to_json(&self) -> String {
        self.0.to_json()
    }

    #[doc = python_doc!("Network.from_json")]
    #[staticmethod]
    fn from_json(text: &str) -> PyResult<Self> {
        Ok(PyNetwork(Network::from_json(text)?))
    }

    #[doc = python_doc!("Network.check_images")]
    #[pyo3(signature = (shape, given="the images have shape"))]
    fn check_images(&self, shape: ImageShape, given: &str) -> PyResult<()> {
        Ok(self.0.check_images(given, shape.0)?)
    }

    #[doc = python_doc!("Network.initialize")]
    #[pyo3(signature = (seed=Seed(0), *, mean=None, std=None), text_signature = "($self, seed=0, *, mean=None, std=None)")]
    fn initialize(
        &self,
        py: Python,
        seed: Seed,
        mean: Option<Vec<f64>>,
        std: Option<Vec<f64>>,
    ) -> PyResult<PyModel> {
        let normalization = self.normalization(mean, std)?;
        let network = self.0.clone();
        let model = computing(py, move || {
            let mut model = Model::initialize(network, seed.0)?;
            model.set_normalization(normalization)?;
            Ok(model)
        })?;
        Ok(PyModel::new(model))
    }

    fn __repr__(&self) -> String {
        let [channels, height, width] = self.0.input_shape;
        format!(
            "<Network {:?}: {} layers, input ({channels}, {height}, {width}), {} parameters>",
            self.0.name,
            self.0.layers.len(),
            self.0.num_parameters()
        )
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((py.get_type::<PyNetwork>().getattr("from_json")?, (self.to_json(),)))
    }
}

/// The network of that name in `everybatch.networks`, with these options.
#[pyfunction]
pub fn build(name: &str, options: &Bound<PyDict>) -> PyResult<PyNetwork> {
    match builders::build(name, Value::new(options)) {
        Some(built) => Ok(PyNetwork(built??)),
        None => Err(unknown("network", name, builders::NAMES).into()),
    }
}
