// Colours are the only control sequences let through: a log line of a build or an app must not move the cursor, set the window's title,
// write to the clipboard (OSC 52) or hide text behind a carriage return or a bidirectional override.
const colours = /\u001b\[[0-9;]*m/
const forbidden = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Text from elsewhere, safe to write to a terminal as one line: tabs and colours stay, every other control character becomes visible. */
export function printable(text: string): string {
  if (text.search(forbidden) === -1) return text
  return text
    .split(new RegExp(`(${colours.source})`))
    .map((part, index) => (index % 2 === 1 ? part : part.replace(forbidden, show)))
    .join('')
}

function show(character: string): string {
  const code = character.charCodeAt(0)
  return code < 0x20 ? String.fromCharCode(0x2400 + code) : '\ufffd'
}
