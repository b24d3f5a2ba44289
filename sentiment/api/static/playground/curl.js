// The same request for a terminal.

/** Return the command that asks for `texts`, safe to paste into a POSIX shell. */
export function curlCommand(texts, { url, topK, withKey }) {
  const lines = [
    "curl -H 'Content-Type: application/json' \\",
    ...(withKey ? ['  -H "Authorization: Bearer $SENTIMENT_KEY" \\'] : []),
    `  -d ${shellQuoted(asciiControls(JSON.stringify(texts)))} \\`,
    `  ${shellQuoted(`${url}?top_k=${topK}`)}`,
  ];
  return lines.join("\n");
}

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Write characters that are invisible or turn the line around as JSON's escapes. */
function asciiControls(json) {
  return json.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, index) => {
      const unit = character.charCodeAt(index).toString(16).padStart(4, "0");
      return `\\u${unit}`;
    }).join(""),
  );
}
