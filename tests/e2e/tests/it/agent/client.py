"""Speaks the Model Context Protocol to the program that its arguments name, for a test that drives it.

Each line of standard input is {"tool": …, "arguments": {…}}, or {"tool": null} for the list of tools; each line of standard
output is {"text": …, "is_error": …}.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters, stdio_client


async def answer(session, call):
    if call["tool"] is None:
        tools = (await session.list_tools()).tools
        described = {tool.name: tool.model_dump(mode="json") for tool in tools}
        return {"text": json.dumps(described), "is_error": False}
    result = await session.call_tool(call["tool"], call["arguments"])
    said = result.model_dump(mode="json")
    text = "\n".join(block["text"] for block in said["content"] if block["type"] == "text")
    return {"text": text, "is_error": bool(said.get("is_error", said.get("isError")))}


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await answer(session, json.loads(line))), flush=True)


asyncio.run(main())
