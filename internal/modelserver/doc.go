// Package modelserver is a model for tests: a server on loopback that speaks what agents speak to models, and answers by a
// script.
//
// The way of a request: an agent posts a conversation to one of four doors, OpenAI Chat Completions
// (/v1/chat/completions), OpenAI Responses (/v1/responses), Anthropic Messages (/v1/messages) or the Gemini API
// (/v1beta/models/MODEL:generateContent and :streamGenerateContent); the door's dialect decodes it into a [Conversation]; it is recorded; the [Script] decides the [Answer]; the dialect writes it, as a stream of events
// or as one document. /v1/models lists the one model, and /v1/messages/count_tokens counts.
//
// Invariants:
//
//  1. A script is a pure function of the conversation. The server keeps nothing between requests that a script could see:
//     what an answer knows, the agent has sent.
//  2. So a request that refers to something that a server should have stored is refused (previous_response_id, item_reference).
//  3. A conversation for which the script has no rule is answered with an error that says so; it is never made up.
//  4. Every request is recorded before it is answered, with its body as it came. At most [Config.Keep] are kept: the server
//     refuses more, so that none is missing in silence.
//  5. No answer outlasts [Config.Longest], nor a client that has gone away.
//
// Tokens are counted as four bytes each: the numbers are right in themselves and mean nothing else.
//
// The package imports the standard library and internal/run; it never talks to another machine. Requests are served on the
// goroutines of net/http, which [Server.Run] owns and waits for.
package modelserver
