// Ctrl-C. While an answer runs, the first one asks it to stop and the second one ends the program
// with 130; at any other time the first one does (but see ignore_idle_interrupts).
#pragma once

namespace rt {

// Installs the SIGINT handler and ignores SIGPIPE: a closed stdout is an error of write().
void install_signals();

// From here on a Ctrl-C between answers ends nothing: in a chat on a terminal it is one that came
// too late for its answer, and at the prompt it is a key (raw_terminal.h).
void ignore_idle_interrupts();

// Lives while an answer runs.
class AnswerScope {
 public:
  AnswerScope();
  ~AnswerScope();
  AnswerScope(const AnswerScope&) = delete;
  AnswerScope& operator=(const AnswerScope&) = delete;
};

// True once Ctrl-C was pressed in the present (or else the last) AnswerScope.
bool interrupted();

inline constexpr int kInterruptedExit = 130;

}  // namespace rt
