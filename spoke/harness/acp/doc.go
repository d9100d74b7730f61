// Package acp holds one conversation with an agent program by the Agent Client Protocol, over the program's standard input and
// output. It owns no process.
//
// The way of a datum: [Open] greets the agent and makes or loads a session; [Conversation.Prompt] sends what the turn is
// about; one task reads the agent's output line by line and does what each message asks before it reads the next: an update
// goes through the translator, which is pure, and comes out as events and deltas of the [Sink]; a request for permission
// becomes a call of [Permission] in a task of its own; the answer to the prompt ends the turn. What is said to the agent goes
// through a bounded queue to one task that writes.
//
// The messages are those of github.com/coder/acp-go-sdk. Its connection is not used: it ends itself when 1,024 updates wait,
// starts a goroutine per request of the agent, which then overtakes the updates before it, may lose an answer that is
// followed by the end of the output, waits for ever in a write, and lets a panic end the process.
//
// Invariants:
//
//  1. The sink hears everything in the order in which the agent said it, a request for permission included, from one
//     goroutine at a time. While it blocks, the agent's output is not read.
//  2. Between turns the sink hears nothing: what comes before a prompt, while a session is loaded, or after the answer is
//     dropped.
//  3. When Prompt returns, what the agent had begun to say is told, every tool call that it began has its end, and no call of
//     Permission is under way.
//  4. Every call ends when its context does, when the agent's output ends, and with [Conversation.Close].
//  5. What the agent sends is bounded: a message by 16 MiB, an event by 64 KiB, the open requests, the tool calls and the lines
//     that are no messages by their numbers.
//  6. Two requests for permission have the same fingerprint only if they ask for the same: numbers are compared digit by digit.
//
// The package never starts a program, knows no spoke and no hub. Its goroutines belong to the Conversation and end with
// Close.
package acp
