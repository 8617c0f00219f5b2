//! Policies in a file: safetensors with their observation and action spaces.
//!
//! Tensors `<k>.<network>.<layer>.weight` (shape \[out, in\]) and `….bias` (\[out\]), f32, for
//! policy k and the networks `actor` and `critic`, or `q`; hidden layers are activated, the
//! last one is linear. The metadata entry `splitwave` holds the rest as JSON.

use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::control::observation::ObservationSpace;
use crate::control::policies::ActionSpace;
use crate::rl::{Activation, Mlp, Policy};

/// Entry of the metadata.
const METADATA: &str = "splitwave";
/// Of the file format.
const VERSION: u32 = 1;
/// Largest file that is read: 100,000 policies of the default size.
const MOST_BYTES: u64 = 4 << 30;
/// Widest layer and most layers that are believed.
const WIDEST: usize = 1 << 16;
const MOST_LAYERS: usize = 64;

/// A policy file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It can't be read or written.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no policy file, or a damaged one.
    #[error("{file}: {defect}")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        defect: String,
    },
    /// Its policies are for something else.
    #[error("{file}: {what} of the policy file: {saved}; of the scenario: {asked}")]
    Mismatch {
        /// The file.
        file: String,
        /// What differs.
        what: &'static str,
        /// In the file.
        saved: String,
        /// In the scenario.
        asked: String,
    },
}

/// The action space as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SavedActions {
    /// Moves in layers.
    Moves(Vec<i32>),
    /// A choice among these splits.
    Direct {
        /// Least.
        min: u32,
        /// Largest.
        max: u32,
    },
}

impl SavedActions {
    /// Of a scenario.
    pub fn of(space: &ActionSpace) -> Self {
        match &space.moves {
            Some(moves) => Self::Moves(moves.clone()),
            None => Self::Direct { min: space.min, max: space.max },
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Moves(moves) => moves.len(),
            Self::Direct { min, max } => max.saturating_sub(*min) as usize + 1,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Moves(moves) => format!("moves {moves:?}"),
            Self::Direct { min, max } => format!("a direct choice of {min} to {max}"),
        }
    }
}

/// A policy and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedPolicy {
    /// The UE; `None` of a shared controller.
    pub ue: Option<u32>,
    /// Steps that it has learned from.
    pub env_steps: u64,
    /// The networks.
    pub policy: Policy,
}

/// What is in a policy file.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFile {
    /// `ppo`, `a2c` or `dqn`.
    pub kind: String,
    /// What the policies see.
    pub observations: ObservationSpace,
    /// What they can do.
    pub actions: SavedActions,
    /// Steps of an episode.
    pub steps_per_episode: u32,
    /// The settings that they were trained with.
    pub settings: serde_json::Value,
    /// One, or one per UE.
    pub policies: Vec<SavedPolicy>,
}

#[derive(Serialize, Deserialize)]
struct NetworkShape {
    name: String,
    sizes: Vec<usize>,
    activation: Activation,
}

#[derive(Serialize, Deserialize)]
struct SavedEntry {
    ue: Option<u32>,
    env_steps: u64,
    networks: Vec<NetworkShape>,
}

#[derive(Serialize, Deserialize)]
struct SavedMetadata {
    version: u32,
    kind: String,
    observations: ObservationSpace,
    actions: SavedActions,
    steps_per_episode: u32,
    settings: serde_json::Value,
    policies: Vec<SavedEntry>,
}

impl PolicyFile {
    /// The bytes of the file: the same for the same policies.
    ///
    /// # Errors
    /// What safetensors refuses, in words.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut entries = Vec::new();
        for (k, saved) in self.policies.iter().enumerate() {
            let mut networks = Vec::new();
            for (name, network) in saved.policy.networks() {
                let sizes = network.sizes();
                for (layer, (weight, bias)) in network.layers().into_iter().enumerate() {
                    let (inputs, outputs) = (sizes[layer], sizes[layer + 1]);
                    // Column-major in memory, row-major in the file.
                    let rows = (0..outputs).flat_map(|o| (0..inputs).map(move |i| weight[i * outputs + o]));
                    let bytes = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect();
                    tensors.push((
                        format!("{k}.{name}.{layer}.weight"),
                        vec![outputs, inputs],
                        bytes(&mut rows.into_iter()),
                    ));
                    tensors.push((format!("{k}.{name}.{layer}.bias"), vec![outputs], bytes(&mut bias.iter().copied())));
                }
                let (name, sizes) = (name.to_owned(), sizes.to_vec());
                networks.push(NetworkShape { name, sizes, activation: network.activation() });
            }
            entries.push(SavedEntry { ue: saved.ue, env_steps: saved.env_steps, networks });
        }
        let metadata = SavedMetadata {
            version: VERSION,
            kind: self.kind.clone(),
            observations: self.observations.clone(),
            actions: self.actions.clone(),
            steps_per_episode: self.steps_per_episode,
            settings: self.settings.clone(),
            policies: entries,
        };
        let text = serde_json::to_string(&metadata).map_err(|error| error.to_string())?;
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|e| e.to_string())?))
            })
            .collect::<Result<Vec<_>, String>>()?;
        // One entry: the order of several would differ from run to run.
        let metadata = std::iter::once((METADATA.to_owned(), text)).collect();
        safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`PolicyFileError`] if it can't be read, or is none.
    pub fn open(path: &Path) -> Result<(Self, String), PolicyFileError> {
        let file = path.display().to_string();
        let io = |source| PolicyFileError::Io { file: file.clone(), source };
        let length = std::fs::metadata(path).map_err(io)?.len();
        if length > MOST_BYTES {
            let defect = format!("{length} bytes are more than a policy file can have, {MOST_BYTES}");
            return Err(PolicyFileError::Damaged { file, defect });
        }
        let bytes = std::fs::read(path).map_err(io)?;
        let policies = Self::from_bytes(&bytes).map_err(|defect| PolicyFileError::Damaged { file, defect })?;
        Ok((policies, blake3::hash(&bytes).to_hex().to_string()))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let no_file = |error| format!("not a whole safetensors file: {error}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(no_file)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(no_file)?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
        let text = text.ok_or("no policy file: its metadata has no entry `splitwave`")?;
        if text.contains("\"target\"") && !text.contains("\"policies\"") {
            return Err("this is a surrogate, as `splitwave fit` writes it, and no policy file".into());
        }
        let saved: SavedMetadata =
            serde_json::from_str(text).map_err(|error| format!("its metadata can't be read: {error}"))?;
        if saved.version != VERSION {
            return Err(format!("version {} of the format; this program reads version {VERSION}", saved.version));
        }
        if saved.policies.is_empty() {
            return Err("it holds no policy".into());
        }
        if let Some(entry) = saved.observations.0.iter().find(|entry| !entry.scaling.is_valid()) {
            return Err(format!("the scaling of {} is {:?}", entry.observed.name(), entry.scaling));
        }
        let mut policies = Vec::new();
        for (k, entry) in saved.policies.iter().enumerate() {
            let read = |shape: &NetworkShape| read_network(&tensors, &format!("{k}.{}", shape.name), shape);
            let names: Vec<&str> = entry.networks.iter().map(|shape| shape.name.as_str()).collect();
            let policy = match (names.as_slice(), entry.networks.as_slice()) {
                (["actor", "critic"], [actor, critic]) => {
                    Policy::ActorCritic { actor: read(actor)?, critic: read(critic)? }
                }
                (["q"], [network]) => Policy::Q { network: read(network)? },
                _ => return Err(format!("policy {k} has networks {names:?}; a policy has actor and critic, or q")),
            };
            let fits = matches!(
                (saved.kind.as_str(), &policy),
                ("dqn", Policy::Q { .. }) | ("ppo" | "a2c", Policy::ActorCritic { .. })
            );
            if !fits {
                return Err(format!(
                    "policy {k} has networks {names:?}, which are not those of kind \"{}\"",
                    saved.kind
                ));
            }
            let critic_fits = match &policy {
                Policy::ActorCritic { actor, critic } => {
                    critic.sizes().first() == actor.sizes().first() && critic.sizes().last() == Some(&1)
                }
                Policy::Q { .. } => true,
            };
            if policy.inputs() != saved.observations.len() || policy.actions() != saved.actions.len() || !critic_fits {
                let (sees, can) = (saved.observations.len(), saved.actions.len());
                return Err(format!("the networks of policy {k} don't fit {sees} observations and {can} actions"));
            }
            policies.push(SavedPolicy { ue: entry.ue, env_steps: entry.env_steps, policy });
        }
        Ok(Self {
            kind: saved.kind,
            observations: saved.observations,
            actions: saved.actions,
            steps_per_episode: saved.steps_per_episode,
            settings: saved.settings,
            policies,
        })
    }

    /// Whether a scenario's controllers can go on with these policies. Scalings are the file's
    /// own: what was seen as 1 in training is seen as 1 again.
    ///
    /// # Errors
    /// [`PolicyFileError::Mismatch`] with what differs.
    pub fn check(
        &self,
        file: &str,
        kind: &str,
        observed: &[&str],
        actions: &SavedActions,
        controllers: usize,
    ) -> Result<(), PolicyFileError> {
        let differs = |what, saved, asked| PolicyFileError::Mismatch { file: file.to_owned(), what, saved, asked };
        if self.kind != kind {
            return Err(differs("kind", self.kind.clone(), kind.to_owned()));
        }
        if self.observations.names() != observed {
            return Err(differs("observations", self.observations.names().join(", "), observed.join(", ")));
        }
        if self.actions != *actions {
            return Err(differs("actions", self.actions.describe(), actions.describe()));
        }
        let count = self.policies.len();
        if count != 1 && count != controllers {
            let many = |count: usize| if count == 1 { "one".to_owned() } else { format!("{count}, one for each UE") };
            return Err(differs("number of policies", many(count), many(controllers)));
        }
        Ok(())
    }

    /// Whether learning can go on with these policies: their hidden layers are those asked for.
    ///
    /// # Errors
    /// [`PolicyFileError::Mismatch`] with what differs.
    pub fn check_networks(&self, file: &str, hidden: &[u32], activation: Activation) -> Result<(), PolicyFileError> {
        let describe = |hidden: &[u32], activation: Activation| format!("{hidden:?}, {activation:?}").to_lowercase();
        for saved in &self.policies {
            for (_, network) in saved.policy.networks() {
                let sizes = network.sizes();
                let inner: Vec<u32> = sizes[1..sizes.len() - 1].iter().map(|&size| size as u32).collect();
                if inner != hidden || network.activation() != activation {
                    return Err(PolicyFileError::Mismatch {
                        file: file.to_owned(),
                        what: "hidden layers",
                        saved: describe(&inner, network.activation()),
                        asked: describe(hidden, activation),
                    });
                }
            }
        }
        Ok(())
    }

    /// What is saved for a table's controller number `index`: one policy serves all.
    fn saved(&self, index: usize) -> Option<&SavedPolicy> {
        self.policies.get(if self.policies.len() == 1 { 0 } else { index })
    }

    /// The policy of a table's controller number `index`.
    pub fn policy(&self, index: usize) -> Option<&Policy> {
        self.saved(index).map(|saved| &saved.policy)
    }

    /// Steps that it has learned from.
    pub fn env_steps(&self, index: usize) -> u64 {
        self.saved(index).map_or(0, |saved| saved.env_steps)
    }
}

fn read_network(tensors: &SafeTensors<'_>, prefix: &str, shape: &NetworkShape) -> Result<Mlp<f32>, String> {
    let sizes = &shape.sizes;
    if sizes.len() < 2 || sizes.len() > MOST_LAYERS || sizes.iter().any(|&size| size == 0 || size > WIDEST) {
        return Err(format!("network {prefix} has layers of {sizes:?}"));
    }
    let mut parameters = Vec::new();
    for (layer, pair) in sizes.windows(2).enumerate() {
        let (inputs, outputs) = (pair[0], pair[1]);
        let weight = read_tensor(tensors, &format!("{prefix}.{layer}.weight"), &[outputs, inputs])?;
        for i in 0..inputs {
            parameters.extend((0..outputs).map(|o| weight[o * inputs + i]));
        }
        parameters.extend(read_tensor(tensors, &format!("{prefix}.{layer}.bias"), &[outputs])?);
    }
    Mlp::from_parameters(sizes, shape.activation, parameters).ok_or_else(|| format!("network {prefix} has holes"))
}

fn read_tensor(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let view = tensors.tensor(name).map_err(|error| format!("tensor {name}: {error}"))?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        return Err(format!("tensor {name} is {:?} of shape {:?}, not F32 of {shape:?}", view.dtype(), view.shape()));
    }
    let values: Vec<f32> =
        view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    match values.iter().find(|value| !value.is_finite()) {
        Some(bad) => Err(format!("tensor {name} holds {bad}")),
        None => Ok(values),
    }
}
