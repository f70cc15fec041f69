//! Values travel in buckets: few messages, none of which is large.

/// Values of a full bucket.
pub(super) const BUCKET: usize = 8 << 20;

/// `items`, in order, in buckets; each is closed as soon as it holds `full` values.
pub(super) fn buckets<T>(items: impl IntoIterator<Item = T>, values: impl Fn(&T) -> usize, full: usize) -> Vec<Vec<T>> {
    let (mut all, mut open, mut held) = (Vec::new(), Vec::new(), 0);
    for item in items {
        held += values(&item);
        open.push(item);
        if held >= full {
            all.push(std::mem::take(&mut open));
            held = 0;
        }
    }
    if !open.is_empty() {
        all.push(open);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_closed_as_soon_as_it_is_full() {
        let split = |sizes: &[usize]| buckets(sizes.to_vec(), |size| *size, 10);
        assert_eq!(split(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(split(&[0, 3]), [[0, 3]]);
        assert_eq!(split(&[4, 5, 1, 25, 9, 2, 3]), [vec![4, 5, 1], vec![25], vec![9, 2], vec![3]]);
    }
}
