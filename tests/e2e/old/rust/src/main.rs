//! Executor "oldrust", written as users of Rain 0.4 wrote theirs.

use rain_task::*; // register_task! too
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, process, thread};

fn hello(_ctx: &mut Context, name: &DataInstance, out: &mut Output) -> TaskResult<()> {
    write!(out, "Hello {}!", name.get_str()?)?;
    Ok(())
}

/// More than 128 KiB go to a file (rain_task::MEM_BACKED_LIMIT).
fn concat(_ctx: &mut Context, parts: &[DataInstance], out: &mut Output) -> TaskResult<()> {
    for part in parts {
        out.write_all(part.get_bytes()?)?;
    }
    Ok(())
}

fn stage_file(_ctx: &mut Context, data: &DataInstance, out: &mut Output) -> TaskResult<()> {
    fs::write("out.bin", data.get_bytes()?)?;
    out.stage_file("out.bin")?;
    out.set_content_type("text")
}

fn same(_ctx: &mut Context, input: &DataInstance, out: &mut Output) -> TaskResult<()> {
    out.stage_input(input)
}

/// The path of the input; the library panics if it has none, because it is in memory.
fn path(_ctx: &mut Context, input: &DataInstance, out: &mut Output) -> TaskResult<()> {
    write!(out, "{}", input.get_path().display())?;
    Ok(())
}

fn nothing(_ctx: &mut Context, _out: &mut Output) -> TaskResult<()> {
    Ok(())
}

fn attributes(ctx: &mut Context, input: &DataInstance, out: &mut Output) -> TaskResult<()> {
    let label = ctx.spec.inputs[0].label.clone();
    write!(out, "{} {} {}", label, input.get_content_type(), out.spec.label.clone())?;
    ctx.set_user_info("answer", UserValue::from(42));
    out.set_user_info("unit", UserValue::from("metre"));
    Ok(())
}

fn fail(_ctx: &mut Context, text: &DataInstance) -> TaskResult<()> {
    Err(text.get_str()?)?
}

fn crash(_ctx: &mut Context) -> TaskResult<()> {
    panic!("panicked on purpose")
}

fn pid(_ctx: &mut Context, out: &mut Output) -> TaskResult<()> {
    write!(out, "{}", process::id())?;
    Ok(())
}

/// Makes the first file and waits for the second one, which somebody else makes.
fn meet(
    _ctx: &mut Context,
    own: &DataInstance,
    other: &DataInstance,
    out: &mut Output,
) -> TaskResult<()> {
    fs::write(own.get_str()?, b"")?;
    let begin = Instant::now();
    while !Path::new(other.get_str()?).exists() {
        if begin.elapsed() > Duration::from_secs(60) {
            return Err("nobody came within 60 s")?;
        }
        thread::sleep(Duration::from_millis(2));
    }
    write!(out, "{}", process::id())?;
    Ok(())
}

fn main() {
    let mut executor = Executor::new("oldrust");
    register_task!(executor, "hello", [I O], hello);
    register_task!(executor, "concat", [Is O], concat);
    register_task!(executor, "stage_file", [I O], stage_file);
    register_task!(executor, "same", [I O], same);
    register_task!(executor, "path", [I O], path);
    register_task!(executor, "nothing", [O], nothing);
    register_task!(executor, "attributes", [I O], attributes);
    register_task!(executor, "fail", [I], fail);
    register_task!(executor, "crash", [], crash);
    register_task!(executor, "pid", [O], pid);
    register_task!(executor, "meet", [I I O], meet);
    executor.run();
}
