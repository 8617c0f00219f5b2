use super::*;

fn submission(engine: Engine) -> Submission {
    Submission {
        engine,
        name: "grid".to_owned(),
        runs: 240,
        program: "/opt/splitwave".into(),
        study: "/home/a b/grid.toml".into(),
        out: "/scratch/it's 50%".into(),
        directory: "/home/a b".into(),
        resources: Resources::default(),
        command: "splitwave study submit grid.toml".to_owned(),
    }
}

/// The lines of a script that are not comments, of `#SBATCH` lines apart.
fn lines(script: &Script) -> Vec<&str> {
    let is_line = |line: &&str| !line.is_empty() && (!line.starts_with('#') || line.starts_with("#SBATCH"));
    script.text.lines().map(str::trim).filter(is_line).collect()
}

#[test]
fn wall_times_are_slurms() {
    for (text, seconds, shown) in [
        ("5", 300, "00:05:00"),
        ("90", 5_400, "01:30:00"),
        ("10:30", 630, "00:10:30"),
        ("01:30:05", 5_405, "01:30:05"),
        ("48:00:00", 172_800, "2-00:00:00"),
        ("2-12", 216_000, "2-12:00:00"),
        ("1-02:03", 93_780, "1-02:03:00"),
        ("1-02:03:04", 93_784, "1-02:03:04"),
    ] {
        let time: WallTime = text.parse().unwrap();
        assert_eq!((time.seconds(), time.to_string().as_str()), (seconds, shown), "{text}");
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    for text in
        ["", "4", "4:59", "1h", "-1", "1:2:3:4", "1-24", "1:60:00", "01:00:60", "366-0", "1-", "1-2-3", "9999999", "٣٠"]
    {
        assert_eq!(text.parse::<WallTime>(), Err(WallTime::ALLOWED), "{text}");
    }
}

#[test]
fn memory_has_a_unit() {
    for (text, mebibytes, shown) in
        [("4G", 4096, "4G"), ("500m", 500, "500M"), ("1025K", 2, "1025K"), ("1T", 1 << 20, "1T")]
    {
        let memory: Memory = text.parse().unwrap();
        assert_eq!((memory.mebibytes(), memory.to_string().as_str()), (mebibytes, shown));
    }
    for text in ["", "G", "4", "0G", "4GB", "4.5G", "-1G", "1 G", "99999999999G", "4é"] {
        assert_eq!(text.parse::<Memory>(), Err(Memory::ALLOWED), "{text}");
    }
}

#[test]
fn names_of_the_site_are_plain() {
    for text in ["main", "cpu,gpu", "a-b_c.d", "me@here"] {
        assert_eq!(text.parse::<SiteName>().unwrap().to_string(), text);
    }
    for text in ["", "-p", "a b", "a\nb", "$(x)", "a;b"] {
        assert!(text.parse::<SiteName>().is_err(), "{text}");
    }
}

#[test]
fn paths_reach_slurm_and_the_shell_whole() {
    let scripts = submission(Engine::Slurm).scripts().unwrap();
    let lines = lines(&scripts[0]);
    for line in [
        "#SBATCH --chdir=\"/home/a b\"",
        "#SBATCH --output=\"/scratch/it's 50%%/submit/shard-%a.log\"",
        "exec /opt/splitwave study run '/home/a b/grid.toml' \\",
        r"--out '/scratch/it'\''s 50%' \",
    ] {
        assert!(lines.contains(&line), "{line}\n{}", scripts[0].text);
    }
    let local = submission(Engine::Local).scripts().unwrap();
    assert!(local[0].text.contains(r"--out '/scratch/it'\''s 50%' || status=$?"), "{}", local[0].text);
}

#[test]
fn paths_that_can_not_are_refused() {
    let message = |submission: &Submission| submission.scripts().unwrap_err().to_string();
    let quote = Submission { directory: "/a\"b".into(), ..submission(Engine::Slurm) };
    assert_eq!(
        message(&quote),
        "/a\"b: the path of the working directory holds '\"', which an #SBATCH line can't carry"
    );
    let two_lines = Submission { study: "a\nb.toml".into(), ..submission(Engine::Local) };
    assert_eq!(message(&two_lines), "a\nb.toml: the path of the study file holds '\\n', which a script can't carry");
    let placeholder = Submission { out: "/a%{b}".into(), ..submission(Engine::HyperQueue) };
    assert_eq!(
        message(&placeholder),
        "/a%{b}/submit: the path of the output folder holds '%', which HyperQueue can't carry"
    );
    let colon = Submission { out: "/a:b".into(), ..submission(Engine::HyperQueue) };
    assert_eq!(message(&colon), "/a:b/submit: the path of the output folder holds ':', which HyperQueue can't carry");
    let percent = Submission { out: "/50%".into(), directory: "/c:d".into(), ..submission(Engine::HyperQueue) };
    assert_eq!(percent.scripts().unwrap().len(), 2);
}

#[test]
fn there_is_a_shard_for_every_task_and_a_run_for_every_shard() {
    let asked = |runs, shards| {
        let resources = Resources { shards, ..Resources::default() };
        Submission { runs, resources, out: "/o".into(), ..submission(Engine::Slurm) }
            .shards()
            .map_err(|error| error.to_string())
    };
    assert_eq!(asked(240, None), Ok(8));
    assert_eq!(asked(3, None), Ok(3));
    assert_eq!(asked(240, Some(240)), Ok(240));
    assert_eq!(asked(240, Some(241)), Err("--shards 241: the study has 240 runs; allowed: 1 to 240".to_owned()));
}

#[test]
fn options_without_a_part_are_refused() {
    let refused = |engine, resources| {
        let error = Submission { resources, ..submission(engine) }.scripts().unwrap_err();
        error.to_string()
    };
    let partition = Resources { partition: "main".parse().ok(), ..Resources::default() };
    assert_eq!(refused(Engine::HyperQueue, partition.clone()), "--partition plays no part with --engine hq");
    assert_eq!(refused(Engine::Local, partition), "--partition plays no part with --engine local");
    let mem = Resources { mem: "4G".parse().ok(), ..Resources::default() };
    assert_eq!(refused(Engine::Local, mem), "--mem plays no part with --engine local");
}

#[test]
fn what_is_filled_in_is_not_looked_at_again() {
    let values = [("A", "@B@".to_owned()), ("B", "b".to_owned())];
    assert_eq!(fill("@A@ @B@ @C@ a@b \"$@\"", &values), "@B@ b @C@ a@b \"$@\"");
}

#[test]
fn no_template_keeps_a_key() {
    for engine in [Engine::Slurm, Engine::HyperQueue, Engine::Local] {
        let plain = Submission { out: "/scratch/out".into(), ..submission(engine) };
        for script in plain.scripts().unwrap() {
            let keys: Vec<&str> = script.text.split('@').skip(1).step_by(2).collect();
            let is_key =
                |key: &&str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            assert!(!keys.iter().any(is_key), "{}", script.text);
            assert!(script.text.starts_with("#!/bin/bash\n"));
        }
    }
}
