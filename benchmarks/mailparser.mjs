// Reads mails with Nodemailer's parser: a path a line on standard input, a JSON object a line out.
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'

const { simpleParser } = createRequire(process.argv[2] + '/')('mailparser')
const options = { skipHtmlToText: true, skipTextToHtml: true, skipTextLinks: true, skipImageLinks: true }

for await (const path of createInterface({ input: process.stdin })) {
  let read
  try {
    const mail = await simpleParser(await readFile(path), options)
    read = { subject: mail.subject ?? '', plain: mail.text ?? null, html: mail.html || null }
  } catch (error) {
    read = { error: String(error) }
  }
  process.stdout.write(JSON.stringify(read) + '\n')
}
