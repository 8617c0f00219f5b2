use super::*;

/// What became of a try: item, which try, and the text or number that it gave.
type Kept = (usize, u32, Result<u32, String>);

/// Work that is told by a function what each try gives; remembers what it kept.
struct Play<F> {
    act: F,
    kept: Mutex<Vec<Kept>>,
    refuses_from: usize,
}

impl<F> Play<F> {
    fn of(act: F) -> Self {
        Self { act, kept: Mutex::new(Vec::new()), refuses_from: usize::MAX }
    }

    /// In order of items.
    fn kept(&self) -> Vec<Kept> {
        let mut kept = lock(&self.kept).clone();
        kept.sort_by_key(|&(item, tries, _)| (item, tries));
        kept
    }
}

impl<F: Fn(usize, &Interrupt) -> Tried<u32, String> + Sync> Work for Play<F> {
    type Done = u32;
    type Error = String;

    fn attempt(&self, item: usize, interrupt: &Interrupt, tell: &dyn Fn(String)) -> Tried<u32, String> {
        tell(format!("item {item}"));
        (self.act)(item, interrupt)
    }

    fn keep(&self, item: usize, tries: u32, wall_s: f64, ended: &Result<u32, String>) -> Result<(), String> {
        assert!(wall_s >= 0.0);
        let mut kept = lock(&self.kept);
        if kept.len() >= self.refuses_from {
            return Err("the disk is full".to_owned());
        }
        kept.push((item, tries, ended.clone()));
        Ok(())
    }

    fn note(&self, _: usize) -> Result<(), String> {
        Ok(())
    }

    fn sync(&self) -> Result<(), String> {
        Ok(())
    }
}

const PLAIN: Limits = Limits { threads: 3, timeout: None, retries: 0, max_failures: None };

/// Spins until the interrupt is raised, as a simulation does that looks at it now and then.
fn until_interrupted(interrupt: &Interrupt) -> Tried<u32, String> {
    while !interrupt.is_set() {
        thread::yield_now();
    }
    Tried::Stopped(SimTime::from_nanos(1_500_000_000))
}

#[test]
fn every_item_is_done_once() {
    for threads in [1, 2, 7] {
        let work = Play::of(|item, _: &Interrupt| Tried::Done(item as u32 * 10));
        let limits = Limits { threads, ..PLAIN };
        let (mut remarks, mut ended) = (0, Vec::new());
        let end = drive(&work, 100, &limits, &Interrupt::new(), &mut |news| match news {
            News::Remark(_) => remarks += 1,
            News::Stopping => panic!("nobody asked"),
            News::Ended { item, result, again, .. } => ended.push((item, result, again)),
        });
        assert_eq!(end.unwrap(), End::Whole);
        let expected: Vec<Kept> = (0..100).map(|item| (item, 1, Ok(item as u32 * 10))).collect();
        assert_eq!(work.kept(), expected);
        ended.sort();
        assert_eq!(ended, (0..100).map(|item| (item, Ok(item as u32 * 10), false)).collect::<Vec<_>>());
        assert_eq!(remarks, 100);
    }
    let nothing = Play::of(|_, _: &Interrupt| Tried::Done(0));
    assert_eq!(drive(&nothing, 0, &PLAIN, &Interrupt::new(), &mut |_| {}).unwrap(), End::Whole);
}

/// A panic, an error and a run without end each fail on their own; the rest goes on.
#[test]
fn what_fails_is_kept_and_the_rest_goes_on() {
    let work = Play::of(|item, interrupt: &Interrupt| match item {
        1 => panic!("no such luck {item}"),
        2 => Tried::Failed("nothing arrived".to_owned()),
        3 => until_interrupted(interrupt),
        _ => Tried::Done(1),
    });
    let limits = Limits { timeout: Some(Duration::from_millis(30)), ..PLAIN };
    assert_eq!(drive(&work, 6, &limits, &Interrupt::new(), &mut |_| {}).unwrap(), End::Whole);
    let late = "took longer than 0.03 s (--timeout-per-run); interrupted at 1.5 s of simulated time";
    let failed = |item, text: &str| (item, 1, Err(text.to_owned()));
    let expected = [
        (0, 1, Ok(1)),
        failed(1, "panicked: no such luck 1"),
        failed(2, "nothing arrived"),
        failed(3, late),
        (4, 1, Ok(1)),
        (5, 1, Ok(1)),
    ];
    assert_eq!(work.kept(), expected);
}

#[test]
fn failures_are_tried_again_as_often_as_asked() {
    let tries = AtomicUsize::new(0);
    // Fails twice, then works; item 1 never does.
    let work = Play::of(|item, _: &Interrupt| {
        if item == 0 && tries.fetch_add(1, Ordering::Relaxed) >= 2 {
            Tried::Done(5)
        } else {
            Tried::Failed("no".to_owned())
        }
    });
    let limits = Limits { threads: 1, retries: 2, ..PLAIN };
    let mut again_told = Vec::new();
    let end = drive(&work, 2, &limits, &Interrupt::new(), &mut |news| {
        if let News::Ended { item, again, .. } = news {
            again_told.push((item, again));
        }
    });
    assert_eq!(end.unwrap(), End::Whole);
    let no = || Err("no".to_owned());
    assert_eq!(work.kept(), [(0, 1, no()), (0, 2, no()), (0, 3, Ok(5)), (1, 1, no()), (1, 2, no()), (1, 3, no())]);
    assert_eq!(again_told, [(0, true), (0, true), (0, false), (1, true), (1, true), (1, false)]);
}

#[test]
fn too_many_failures_stop_all() {
    let work =
        Play::of(|item, _: &Interrupt| if item % 2 == 0 { Tried::Failed("no".to_owned()) } else { Tried::Done(1) });
    let limits = Limits { threads: 1, max_failures: Some(2), ..PLAIN };
    assert_eq!(drive(&work, 100, &limits, &Interrupt::new(), &mut |_| {}).unwrap(), End::TooManyFailures);
    let items: Vec<usize> = work.kept().iter().map(|&(item, ..)| item).collect();
    assert_eq!(items, [0, 1, 2, 3, 4], "the third failure is one too many");
    // Two failures are not.
    assert_eq!(drive(&work, 4, &limits, &Interrupt::new(), &mut |_| {}).unwrap(), End::Whole);
}

/// Who stops because of an interrupt has not failed: nothing is kept of it.
#[test]
fn an_interrupt_abandons_what_is_under_way() {
    let interrupt = Interrupt::new();
    let work = Play::of(|item, own: &Interrupt| {
        if item < 2 {
            return Tried::Done(1);
        }
        interrupt.set();
        until_interrupted(own)
    });
    let limits = Limits { threads: 1, timeout: Some(Duration::from_secs(3600)), ..PLAIN };
    assert_eq!(drive(&work, 9, &limits, &interrupt, &mut |_| {}).unwrap(), End::Interrupted);
    assert_eq!(work.kept(), [(0, 1, Ok(1)), (1, 1, Ok(1))]);
    // One that was raised before anything began.
    assert_eq!(drive(&work, 9, &limits, &interrupt, &mut |_| {}).unwrap(), End::Interrupted);
    assert_eq!(work.kept().len(), 2);
}

#[test]
fn what_cannot_be_kept_ends_all() {
    let work = Play { refuses_from: 3, ..Play::of(|_, _: &Interrupt| Tried::Done(1)) };
    let error = drive(&work, 9, &Limits { threads: 1, ..PLAIN }, &Interrupt::new(), &mut |_| {});
    assert!(matches!(error, Err(WorkError::Fatal(text)) if text == "the disk is full"));
    assert_eq!(work.kept().len(), 3);
    let fatal = Play::of(|_, _: &Interrupt| Tried::Fatal("no room".to_owned()));
    let error = drive(&fatal, 9, &PLAIN, &Interrupt::new(), &mut |_| {});
    assert!(matches!(error, Err(WorkError::Fatal(text)) if text == "no room"));
    assert_eq!(fatal.kept(), []);
}
