// Raw mode of the terminal on stdin, as state that a signal handler can end: a program that is
// killed or stopped at the prompt leaves the terminal as it found it.
#pragma once

namespace rt {

// Raw mode and bracketed paste. From the first call on TERM, HUP, QUIT and what a crash raises
// restore the terminal before they do what they did before; TSTP restores it and stops the process,
// and CONT, after a STOP too, enters raw mode again. Who has a signal ignored keeps that.
void enter_raw_mode();
// Async-signal-safe; nothing outside raw mode.
void leave_raw_mode();

// Ctrl-Z, which is a key in raw mode: stops the process group, as the terminal would.
void stop_process();
// True once after the process was stopped: the screen is no longer what was drawn.
bool take_stop();

// TERM is unset or "dumb": escape sequences would be shown as text.
bool dumb_terminal();

}  // namespace rt
