//! Executor "rust": two tasks on text.

use rain_task::*; // register_task! too
use std::io::Write;

fn rot13(_ctx: &mut Context, text: &DataInstance, out: &mut Output) -> TaskResult<()> {
    let turn = |c: char| match c {
        'a'..='m' | 'A'..='M' => (c as u8 + 13) as char,
        'n'..='z' | 'N'..='Z' => (c as u8 - 13) as char,
        other => other,
    };
    out.set_content_type("text")?;
    write!(out, "{}", text.get_str()?.chars().map(turn).collect::<String>())?;
    Ok(())
}

fn count(_ctx: &mut Context, text: &DataInstance, out: &mut Output) -> TaskResult<()> {
    let text = text.get_str()?;
    out.set_content_type("json")?;
    write!(
        out,
        r#"{{"lines": {}, "words": {}}}"#,
        text.lines().count(),
        text.split_whitespace().count()
    )?;
    Ok(())
}

fn main() {
    let mut executor = Executor::new("rust");
    register_task!(executor, "rot13", [I O], rot13);
    register_task!(executor, "count", [I O], count);
    executor.run();
}
