//! Constant folding: operators whose inputs are all constants, as exporters write them to compute sizes.

use super::constant::{Constant, Data, computed_elements, elements};
use super::node::Node;
use super::proto::data_type;

type Folded = Result<Constant, String>;

/// The result of a node whose inputs are constants (`None`: absent); `None` when the operator is not one of these.
pub fn fold(node: &Node<'_>, inputs: &[Option<&Constant>]) -> Option<Folded> {
    let first = || inputs.first().copied().flatten().ok_or_else(|| "an input is missing".to_string());
    let get = |i: usize| inputs.get(i).copied().flatten();
    let both = || Ok::<_, String>((first()?, get(1).ok_or("an input is missing")?));
    Some(match node.op_type() {
        "Constant" => constant(node),
        "ConstantOfShape" => first().and_then(|shape| constant_of_shape(node, shape)),
        "Identity" | "Dropout" => first().cloned(),
        "Cast" => first().and_then(|x| cast(x, node.int("to", 1))),
        "Gather" => both().and_then(|(x, at)| gather(x, at, node.int("axis", 0))),
        "Concat" => concat(inputs, node.int("axis", 0)),
        "Slice" => first().and_then(|x| slice(x, &SliceRange::read(node, &[get(1), get(2), get(3), get(4)])?)),
        "Unsqueeze" => first().and_then(|x| unsqueeze(x, &node.axes(get(1)))),
        "Squeeze" => first().and_then(|x| squeeze(x, &node.axes(get(1)))),
        "Reshape" => both().and_then(|(x, to)| {
            let dims = reshaped(&x.dims, &to.to_ints(), node.int("allowzero", 0) != 0)?;
            Ok(Constant { dims, data: x.data.clone() })
        }),
        "Flatten" => first().map(|x| Constant { dims: vec![x.len()], data: x.data.clone() }),
        "Expand" => both().and_then(|(x, to)| expand(x, &to.to_ints())),
        "Transpose" => first().and_then(|x| transpose(x, node.ints("perm"))),
        "Range" => first().and_then(|from| match (get(1), get(2)) {
            (Some(to), Some(by)) => range(from, to, by),
            _ => Err("an input is missing".into()),
        }),
        "Add" => both().and_then(|(a, b)| binary(a, b, |x, y| x + y, |x, y| x.checked_add(y))),
        "Sub" => both().and_then(|(a, b)| binary(a, b, |x, y| x - y, |x, y| x.checked_sub(y))),
        "Mul" => both().and_then(|(a, b)| binary(a, b, |x, y| x * y, |x, y| x.checked_mul(y))),
        "Div" => both().and_then(|(a, b)| binary(a, b, |x, y| x / y, |x, y| x.checked_div(y))),
        "Mod" => both().and_then(|(a, b)| binary(a, b, f32::rem_euclid, |x, y| x.checked_rem_euclid(y))),
        "Max" => both().and_then(|(a, b)| binary(a, b, f32::max, |x, y| Some(x.max(y)))),
        "Min" => both().and_then(|(a, b)| binary(a, b, f32::min, |x, y| Some(x.min(y)))),
        "Pow" => both()
            .and_then(|(a, b)| binary(a, b, f32::powf, |x, y| u32::try_from(y).ok().and_then(|y| x.checked_pow(y)))),
        "Equal" => both().and_then(|(a, b)| compare(a, b, |x, y| x == y)),
        "Greater" => both().and_then(|(a, b)| compare(a, b, |x, y| x > y)),
        "Less" => both().and_then(|(a, b)| compare(a, b, |x, y| x < y)),
        "Not" => first().map(|x| map_ints(x, |n| i64::from(n == 0))),
        "Where" => first().and_then(|c| match (get(1), get(2)) {
            (Some(a), Some(b)) => choose(c, a, b),
            _ => Err("an input is missing".into()),
        }),
        "Floor" => first().map(|x| map(x, f32::floor, |n| n)),
        "Ceil" => first().map(|x| map(x, f32::ceil, |n| n)),
        "Round" => first().map(|x| map(x, f32::round_ties_even, |n| n)),
        "Sqrt" => first().map(|x| map(x, f32::sqrt, |n| n)),
        "Neg" => first().map(|x| map(x, |v| -v, i64::wrapping_neg)),
        "Abs" => first().map(|x| map(x, f32::abs, i64::wrapping_abs)),
        "Clip" => first().map(|x| {
            let bound = |c: Option<&Constant>, or: f32| c.and_then(|c| c.to_floats().first().copied()).unwrap_or(or);
            let (low, high) = (bound(get(1), f32::MIN), bound(get(2), f32::MAX));
            map(x, |v| v.max(low).min(high), |n| n.max(low as i64).min(high as i64))
        }),
        "ReduceProd" => first().map(|x| match &x.data {
            Data::Int(v) => Constant::ints(vec![v.iter().fold(1_i64, |a, &b| a.saturating_mul(b))]),
            Data::Float(v) => Constant { dims: vec![1], data: Data::Float(vec![v.iter().product()]) },
        }),
        _ => return None,
    })
}

fn constant(node: &Node<'_>) -> Folded {
    if let Some(tensor) = node.tensor("value") {
        return Constant::from_proto(tensor);
    }
    let list = |data: Data, n: usize| Ok(Constant { dims: vec![n], data });
    if node.has("value_int") {
        return Ok(Constant { dims: Vec::new(), data: Data::Int(vec![node.int("value_int", 0)]) });
    }
    if node.has("value_float") {
        return Ok(Constant { dims: Vec::new(), data: Data::Float(vec![node.float("value_float", 0.0)]) });
    }
    if let Some(v) = node.ints("value_ints") {
        return list(Data::Int(v.to_vec()), v.len());
    }
    match node.floats("value_floats") {
        Some(v) => list(Data::Float(v.to_vec()), v.len()),
        None => Err("it has no value that is read".into()),
    }
}

fn constant_of_shape(node: &Node<'_>, shape: &Constant) -> Folded {
    let dims = sizes(&shape.to_ints())?;
    let n = computed_elements(&dims)?;
    let value = node.tensor("value").map(Constant::from_proto).transpose()?;
    let data = match value.map(|v| v.data) {
        None => Data::Float(vec![0.0; n]),
        Some(Data::Float(v)) => Data::Float(vec![*v.first().ok_or("its value is empty")?; n]),
        Some(Data::Int(v)) => Data::Int(vec![*v.first().ok_or("its value is empty")?; n]),
    };
    Ok(Constant { dims, data })
}

fn sizes(values: &[i64]) -> Result<Vec<usize>, String> {
    values.iter().map(|&n| usize::try_from(n).map_err(|_| format!("a size of {n}"))).collect()
}

fn cast(x: &Constant, to: i64) -> Folded {
    let data = match i32::try_from(to).unwrap_or(0) {
        data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16 | data_type::BFLOAT16 => Data::Float(x.to_floats()),
        data_type::BOOL => Data::Int(x.to_floats().iter().map(|&v| i64::from(v != 0.0)).collect()),
        data_type::INT64 | data_type::INT32 | data_type::INT16 | data_type::INT8 => Data::Int(x.to_ints()),
        data_type::UINT64 | data_type::UINT32 | data_type::UINT16 | data_type::UINT8 => Data::Int(x.to_ints()),
        other => return Err(format!("a cast to ONNX data type {other} is not read")),
    };
    Ok(Constant { dims: x.dims.clone(), data })
}

fn map(x: &Constant, float: impl Fn(f32) -> f32, int: impl Fn(i64) -> i64) -> Constant {
    let data = match &x.data {
        Data::Float(v) => Data::Float(v.iter().map(|&x| float(x)).collect()),
        Data::Int(v) => Data::Int(v.iter().map(|&n| int(n)).collect()),
    };
    Constant { dims: x.dims.clone(), data }
}

fn map_ints(x: &Constant, f: impl Fn(i64) -> i64) -> Constant {
    Constant { dims: x.dims.clone(), data: Data::Int(x.to_ints().into_iter().map(f).collect()) }
}

/// The elements at these positions, in this order.
fn take(data: &Data, at: impl Iterator<Item = usize>) -> Data {
    match data {
        Data::Float(v) => Data::Float(at.map(|i| v[i]).collect()),
        Data::Int(v) => Data::Int(at.map(|i| v[i]).collect()),
    }
}

/// A possibly negative axis of a tensor of this rank.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let wrapped = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(wrapped).ok().filter(|&a| a < rank).ok_or_else(|| format!("axis {axis} of {rank} dimensions"))
}

fn around(dims: &[usize], axis: usize) -> (usize, usize) {
    (dims[..axis].iter().product(), dims[axis + 1..].iter().product())
}

fn gather(x: &Constant, indices: &Constant, axis: i64) -> Folded {
    let axis = axis_of(axis, x.dims.len())?;
    let n = x.dims[axis];
    let picked = indices.to_ints().into_iter().map(|i| {
        let wrapped = if i < 0 { i.saturating_add(n as i64) } else { i };
        usize::try_from(wrapped).ok().filter(|&i| i < n).ok_or_else(|| format!("element {i} of {n}"))
    });
    let picked = picked.collect::<Result<Vec<_>, _>>()?;
    let (outer, inner) = around(&x.dims, axis);
    let dims = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
    computed_elements(&dims)?;
    let at = (0..outer).flat_map(|o| {
        let picked = &picked;
        picked.iter().flat_map(move |&i| (0..inner).map(move |k| (o * n + i) * inner + k))
    });
    Ok(Constant { data: take(&x.data, at), dims })
}

fn concat(inputs: &[Option<&Constant>], axis: i64) -> Folded {
    let list =
        inputs.iter().map(|c| c.ok_or_else(|| "an input is missing".to_string())).collect::<Result<Vec<_>, _>>()?;
    let first = *list.first().ok_or("it has no input")?;
    let axis = axis_of(axis, first.dims.len())?;
    let fits = |c: &Constant| {
        c.dims.len() == first.dims.len() && (0..c.dims.len()).all(|d| d == axis || c.dims[d] == first.dims[d])
    };
    if !list.iter().all(|c| fits(c)) {
        return Err("constants of shapes that do not fit".into());
    }
    let mut dims = first.dims.clone();
    dims[axis] = list.iter().map(|c| c.dims[axis]).sum();
    let (outer, _) = around(&first.dims, axis);
    let all_ints = list.iter().all(|c| matches!(c.data, Data::Int(_)));
    let part = |c: &Constant| c.len().checked_div(outer).unwrap_or(0);
    let data = if all_ints {
        let values: Vec<_> = list.iter().map(|c| (c.to_ints(), part(c))).collect();
        Data::Int(
            (0..outer).flat_map(|o| values.iter().flat_map(move |(v, n)| v[o * n..(o + 1) * n].to_vec())).collect(),
        )
    } else {
        let values: Vec<_> = list.iter().map(|c| (c.to_floats(), part(c))).collect();
        Data::Float(
            (0..outer).flat_map(|o| values.iter().flat_map(move |(v, n)| v[o * n..(o + 1) * n].to_vec())).collect(),
        )
    };
    Ok(Constant { dims, data })
}

/// What a Slice cuts out: per axis a start, an end and a step.
pub struct SliceRange {
    axes: Vec<(i64, i64, i64, i64)>,
}

impl SliceRange {
    /// From the inputs starts, ends, axes and steps, or, in old files, from attributes.
    pub fn read(node: &Node<'_>, inputs: &[Option<&Constant>; 4]) -> Result<Self, String> {
        let list =
            |i: usize, name: &str| inputs[i].map(Constant::to_ints).or_else(|| node.ints(name).map(<[i64]>::to_vec));
        let starts = list(0, "starts").ok_or("its starts are not constant")?;
        let ends = list(1, "ends").ok_or("its ends are not constant")?;
        let axes = list(2, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list(3, "steps").unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err("its starts, ends, axes and steps are not as many".into());
        }
        Ok(Self { axes: (0..starts.len()).map(|i| (axes[i], starts[i], ends[i], steps[i])).collect() })
    }

    /// For each cut axis the positions that remain.
    pub fn positions(&self, dims: &[usize]) -> Result<Vec<(usize, Vec<usize>)>, String> {
        let one = |&(axis, start, end, step): &(i64, i64, i64, i64)| {
            let axis = axis_of(axis, dims.len())?;
            let n = dims[axis] as i64;
            let wrap = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
            let list = match step {
                1.. => {
                    let (start, end) = (wrap(start).clamp(0, n), wrap(end).clamp(0, n));
                    (start..end).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(|i| i as usize).collect()
                }
                0 => return Err("a step of 0".to_string()),
                _ => {
                    let (start, end) = (wrap(start).clamp(-1, n - 1), wrap(end).clamp(-1, n - 1));
                    let by = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
                    (end + 1..=start).rev().step_by(by).map(|i| i as usize).collect()
                }
            };
            Ok((axis, list))
        };
        self.axes.iter().map(one).collect()
    }
}

fn slice(x: &Constant, range: &SliceRange) -> Folded {
    let mut cut = x.clone();
    for (axis, list) in range.positions(&x.dims)? {
        let (outer, inner) = around(&cut.dims, axis);
        let n = cut.dims[axis];
        let at = (0..outer).flat_map(|o| {
            let list = &list;
            list.iter().flat_map(move |&i| (0..inner).map(move |k| (o * n + i) * inner + k))
        });
        cut.data = take(&cut.data, at);
        cut.dims[axis] = list.len();
    }
    Ok(cut)
}

fn unsqueeze(x: &Constant, axes: &[i64]) -> Folded {
    let rank = x.dims.len() + axes.len();
    let axes = axes.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut rest = x.dims.iter();
    let dims = (0..rank).map(|d| if axes.contains(&d) { Some(1) } else { rest.next().copied() });
    let dims = dims.collect::<Option<Vec<_>>>().ok_or("an axis is given twice")?;
    Ok(Constant { dims, data: x.data.clone() })
}

fn squeeze(x: &Constant, axes: &[i64]) -> Folded {
    let axes = axes.iter().map(|&a| axis_of(a, x.dims.len())).collect::<Result<Vec<_>, _>>()?;
    let drop = |d: usize| if axes.is_empty() { x.dims[d] == 1 } else { axes.contains(&d) };
    if axes.iter().any(|&d| x.dims[d] != 1) {
        return Err("a dropped dimension is not 1".into());
    }
    let dims = (0..x.dims.len()).filter(|&d| !drop(d)).map(|d| x.dims[d]).collect();
    Ok(Constant { dims, data: x.data.clone() })
}

/// The shape that a Reshape gives to `dims`: 0 keeps a dimension, -1 is what remains.
pub fn reshaped(dims: &[usize], to: &[i64], zero_is_zero: bool) -> Result<Vec<usize>, String> {
    let all = elements(dims).ok_or("too large")?;
    let wrong = || format!("{dims:?} cannot be reshaped to {to:?}");
    let mut result = Vec::new();
    for (d, &n) in to.iter().enumerate() {
        result.push(match n {
            0 if !zero_is_zero => *dims.get(d).ok_or_else(wrong)?,
            -1 => 1,
            n => usize::try_from(n).map_err(|_| wrong())?,
        });
    }
    let known = elements(&result).ok_or_else(wrong)?;
    if let Some(d) = to.iter().position(|&n| n == -1) {
        if known == 0 || !all.is_multiple_of(known) || to.iter().filter(|&&n| n == -1).count() > 1 {
            return Err(wrong());
        }
        result[d] = all / known;
    } else if known != all {
        return Err(wrong());
    }
    Ok(result)
}

/// Positions in a tensor of shape `dims` for all elements of the larger shape `to`.
fn broadcast_positions(dims: &[usize], to: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; to.len()];
    let mut stride = 1;
    for (d, &n) in dims.iter().enumerate().rev() {
        strides[to.len() - dims.len() + d] = if n == 1 { 0 } else { stride };
        stride *= n;
    }
    let n: usize = to.iter().product();
    let of = |mut i: usize| {
        let mut at = 0;
        for d in (0..to.len()).rev() {
            at += i % to[d] * strides[d];
            i /= to[d];
        }
        at
    };
    (0..n).map(of).collect()
}

fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], d: usize| (d + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let dims = (0..rank).map(|d| match (at(a, d), at(b, d)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        _ => Err(format!("constants of shapes {a:?} and {b:?}")),
    });
    let dims = dims.collect::<Result<Vec<_>, _>>()?;
    computed_elements(&dims)?;
    Ok(dims)
}

fn expand(x: &Constant, to: &[i64]) -> Folded {
    let dims = broadcast(&x.dims, &sizes(to)?)?;
    Ok(Constant { data: take(&x.data, broadcast_positions(&x.dims, &dims).into_iter()), dims })
}

fn transpose(x: &Constant, perm: Option<&[i64]>) -> Folded {
    let rank = x.dims.len();
    let perm = match perm {
        None => (0..rank).rev().collect(),
        Some(list) => list.iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?,
    };
    if (0..rank).any(|d| !perm.contains(&d)) || perm.len() != rank {
        return Err("its perm is no permutation".into());
    }
    let dims: Vec<usize> = perm.iter().map(|&d| x.dims[d]).collect();
    let strides: Vec<usize> = perm.iter().map(|&d| x.dims[d + 1..].iter().product()).collect();
    let of = |mut i: usize| {
        let mut at = 0;
        for d in (0..rank).rev() {
            at += i % dims[d] * strides[d];
            i /= dims[d];
        }
        at
    };
    Ok(Constant { data: take(&x.data, (0..x.len()).map(of)), dims })
}

fn range(from: &Constant, to: &Constant, by: &Constant) -> Folded {
    let one = |c: &Constant| c.to_ints().first().copied().ok_or_else(|| "an empty bound".to_string());
    if [from, to, by].iter().any(|c| matches!(c.data, Data::Float(_))) {
        return Err("a range of floats is not read".into());
    }
    let (from, to, by) = (one(from)?, one(to)?, one(by)?);
    if by == 0 {
        return Err("a step of 0".into());
    }
    let n = ((i128::from(to) - i128::from(from)) as f64 / by as f64).ceil().max(0.0) as usize;
    computed_elements(&[n])?;
    Ok(Constant::ints((0..n as i64).map(|i| from + i * by).collect()))
}

fn binary(
    a: &Constant,
    b: &Constant,
    float: impl Fn(f32, f32) -> f32,
    int: impl Fn(i64, i64) -> Option<i64>,
) -> Folded {
    let dims = broadcast(&a.dims, &b.dims)?;
    let pairs = broadcast_positions(&a.dims, &dims).into_iter().zip(broadcast_positions(&b.dims, &dims));
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            let values = pairs.map(|(i, j)| int(x[i], y[j])).collect::<Option<Vec<_>>>();
            Data::Int(values.ok_or("whole numbers that overflow or are divided by 0")?)
        }
        _ => {
            let (x, y) = (a.to_floats(), b.to_floats());
            Data::Float(pairs.map(|(i, j)| float(x[i], y[j])).collect())
        }
    };
    Ok(Constant { dims, data })
}

fn compare(a: &Constant, b: &Constant, holds: impl Fn(f64, f64) -> bool) -> Folded {
    let dims = broadcast(&a.dims, &b.dims)?;
    let values = |c: &Constant| -> Vec<f64> {
        match &c.data {
            Data::Int(v) => v.iter().map(|&n| n as f64).collect(),
            Data::Float(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    };
    let (x, y) = (values(a), values(b));
    let pairs = broadcast_positions(&a.dims, &dims).into_iter().zip(broadcast_positions(&b.dims, &dims));
    Ok(Constant { data: Data::Int(pairs.map(|(i, j)| i64::from(holds(x[i], y[j]))).collect()), dims })
}

fn choose(condition: &Constant, a: &Constant, b: &Constant) -> Folded {
    let dims = broadcast(&broadcast(&condition.dims, &a.dims)?, &b.dims)?;
    let chosen = condition.to_ints();
    let at = |c: &Constant| broadcast_positions(&c.dims, &dims);
    let places = at(condition).into_iter().zip(at(a).into_iter().zip(at(b)));
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            Data::Int(places.map(|(c, (i, j))| if chosen[c] != 0 { x[i] } else { y[j] }).collect())
        }
        _ => {
            let (x, y) = (a.to_floats(), b.to_floats());
            Data::Float(places.map(|(c, (i, j))| if chosen[c] != 0 { x[i] } else { y[j] }).collect())
        }
    };
    Ok(Constant { dims, data })
}
