/** What an app answered, as far as it is text for people, for the end of a sentence: ` (Internal Server Error)`. */
export function firstWords(body: string): string {
  const text = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
  return text ? ` (${text.length > 80 ? `${text.slice(0, 80)}…` : text})` : ''
}
